"""compose.yaml: what is in it exists, is known to what it starts, and is reachable from this machine alone."""

import subprocess

import pytest

from services import PIPELINE
from services.registry import load
from shared.process.settings import HubSettings, fields
from shared.process.settings import load as load_settings
from tests.support.compose import COMPOSE, ROOT, SERVICES, command
from tests.support.process import BIN

OURS = [name for name, service in SERVICES.items() if service["image"] == "moorage"]


def seconds(text: str) -> float:
    assert text.endswith("s")
    return float(text[:-1])


def variables(name: str) -> dict[str, str]:
    return {key: value for key, value in SERVICES[name]["environment"].items() if key.startswith("MOORAGE_")}


def test_every_worker_is_a_service() -> None:
    assert [name for name in SERVICES if SERVICES[name].get("command", [""])[0] == "worker"] == list(PIPELINE)
    assert [SERVICES[name]["command"] for name in PIPELINE] == [["worker", name] for name in PIPELINE]


@pytest.mark.parametrize("name", SERVICES)
def test_services_can_be_scaled(name: str) -> None:
    assert "container_name" not in SERVICES[name]
    assert name not in PIPELINE or "ports" not in SERVICES[name], "two copies cannot publish the same port"


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_alone(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned_or_built_here(name: str) -> None:
    service = SERVICES[name]
    if service["image"] == "moorage":
        assert service["pull_policy"] == "never"
    else:
        tag = service["image"].rpartition(":")[2]
        assert tag.removeprefix("v")[0].isdigit()


def test_our_image_is_built_once_for_all() -> None:
    (build,) = (service["build"] for service in SERVICES.values() if "build" in service)
    assert (ROOT / build["context"] / build["dockerfile"]).is_file()


@pytest.mark.parametrize("name", SERVICES)
def test_volumes_and_dependencies_exist(name: str) -> None:
    service = SERVICES[name]
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        assert (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], source
    for other, wanted in service.get("depends_on", {}).items():
        checked = "healthcheck" in SERVICES[other]
        assert checked or wanted["condition"] == "service_completed_successfully", other


@pytest.mark.parametrize("name", SERVICES)
def test_memory_is_bounded(name: str) -> None:
    assert SERVICES[name]["mem_limit"].endswith("m")


@pytest.mark.parametrize("name", [*OURS, "nats", "jaeger"])
def test_containers_may_do_little(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


@pytest.mark.parametrize("name", PIPELINE)
def test_variables_are_settings_of_the_worker_and_have_usable_values(name: str) -> None:
    settings = load(name).settings
    assert set(variables(name)) <= {info.env for info in fields(settings)}
    loaded = load_settings(settings, {}, variables(name))
    assert seconds(SERVICES[name]["stop_grace_period"]) > loaded.drain_seconds


@pytest.mark.parametrize("name", PIPELINE)
def test_a_worker_of_the_hub_has_a_kubeconfig(name: str) -> None:
    assert issubclass(load(name).settings, HubSettings) == ("MOORAGE_KUBECONFIG" in variables(name))


@pytest.mark.parametrize("name", [name for name in PIPELINE if "MOORAGE_KUBECONFIG" in variables(name)])
def test_the_kubeconfig_lies_in_a_volume_that_the_sandbox_fills(name: str) -> None:
    path = variables(name)["MOORAGE_KUBECONFIG"]
    volume, mounted = SERVICES[name]["volumes"][0].split(":")[:2]
    sandbox = SERVICES["sandbox"]
    data = sandbox["command"][sandbox["command"].index("--data") + 1]
    assert path == f"{mounted}/{'intake' if name == 'intake' else 'admin'}.kubeconfig"
    assert f"{volume}:{data}" in sandbox["volumes"]


def test_the_sandbox_is_known_by_the_name_of_its_service() -> None:
    given = SERVICES["sandbox"]["command"]
    assert given[given.index("--advertise") + 1] in SERVICES


@pytest.mark.parametrize("name", OURS)
def test_commands_resolve(name: str) -> None:
    program, *arguments = command(name)
    found = subprocess.run(
        [str(BIN / program), *arguments, "--help"],
        env=SERVICES[name].get("environment", {}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.returncode == 0, found.stderr
    options = {argument for argument in arguments if argument.startswith("--")}
    assert all(option in found.stdout for option in options)
