"""compose.yaml as people start it, with two copies of each worker: what the README places is placed, one trace in
Jaeger tells of it, each copy logs in by its worker's key, what dies comes back.
"""

import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services import PIPELINE
from tests.support.compose import ROOT
from tests.support.jaeger import Jaeger
from tests.support.kubectl import KUBECTL, needs_kubectl

pytestmark = [pytest.mark.docker, pytest.mark.long, pytest.mark.timeout(1500), needs_kubectl]

SHOP = "https://localhost:6443/clusters/root:apps:shop"
CONNECTIONS = "http://127.0.0.1:8222/connz?auth=1"
PLACEMENTS = ("backend", "background", "payments", "storefront")
COPIES = 2
TRACED = {f"moorage-{name}" for name in PIPELINE if name != "intake"}  # through which the placements do not come
JAEGER = Jaeger("http://127.0.0.1:4318", "http://127.0.0.1:16686")
KILL = """
import glob, os, pathlib
for file in map(pathlib.Path, glob.glob("/proc/[0-9]*/stat")):
    if file.read_text().rpartition(")")[2].split()[1] == "1":
        os.kill(int(file.parts[2]), 9)
"""
"""Ends the worker, which is the child of the container's init: after `docker kill` the engine would not restart it."""

BUILT_WITHIN = 900.0  # seconds
BOUND = 180.0  # seconds, on a busy machine


def run(*command: str, within: float = BOUND + 30) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=within)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def compose(*command: str, within: float = BOUND) -> str:
    return run("docker", "compose", "--project-name", "moorage-test", *command, within=within)


class Shop:
    """Shirin, who places."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig

    def kubectl(self, *command: str) -> str:
        return run(
            str(KUBECTL), "--kubeconfig", str(self.kubeconfig), "--server", SHOP, "--namespace", "shop", *command
        )

    def place(self, name: str) -> None:
        """Place the web shop's ConfigMap once more."""
        placement = {
            "apiVersion": "placement.moorage.io/v1alpha1",
            "kind": "Placement",
            "metadata": {"name": name},
            "spec": {"workload": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "webshop"}]},
        }
        file = self.kubeconfig.with_name(f"{name}.json")
        file.write_text(json.dumps(placement))
        self.kubectl("apply", "-f", str(file))

    def ready(self, *names: str) -> None:
        self.kubectl("wait", "placement", *names, "--for=condition=Ready", f"--timeout={BOUND:.0f}s")


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BOUND
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    installed = shutil.which("docker") and subprocess.run(["docker", "compose", "version"], capture_output=True)
    if not installed or installed.returncode:
        pytest.skip("docker compose is not installed")
    scales = [word for name in PIPELINE for word in ("--scale", f"{name}={COPIES}")]
    try:
        compose("build", within=BUILT_WITHIN)
        compose("up", "--detach", *scales, within=300)
        kubeconfig = tmp_path_factory.mktemp("shop") / "shirin.kubeconfig"
        compose("cp", "sandbox:/data/user-shirin.kubeconfig", str(kubeconfig))
        found = Shop(kubeconfig)
        found.kubectl("create", "namespace", "shop")
        found.kubectl("apply", "-f", "examples/webshop", "-f", "examples/placements/webshop.yaml")
        yield found
    finally:
        compose("down", "--volumes", "--timeout", "5")


def test_what_the_readme_places_becomes_ready(shop: Shop) -> None:
    shop.ready(*PLACEMENTS)


async def test_jaeger_shows_one_trace_over_all_workers(shop: Shop) -> None:
    shop.ready("storefront")
    trace = shop.kubectl("get", "placement", "storefront", "--output", "jsonpath={.status.traceId}")
    spans = await JAEGER.trace(trace, lambda found: {span.service for span in found} == TRACED)
    assert [span.name for span in spans if not span.parent] == ["reconcile placement"]
    assert not any(span.failed for span in spans)


def test_each_copy_logs_in_to_nats_as_its_worker(shop: Shop, tmp_path: Path) -> None:
    compose("cp", "nats:/keys/permissions.conf", str(tmp_path / "permissions.conf"))
    accounts = (tmp_path / "permissions.conf").read_text()
    known = dict(re.findall(r'(moorage-\w+): \{\s+users: \[\s+\{\s+nkey: "(\w+)"', accounts))
    workers = [f"moorage-{name}" for name in PIPELINE]

    def all_there() -> bool:
        with urllib.request.urlopen(CONNECTIONS, timeout=5) as answer:
            found = Counter((each["name"], each["authorized_user"]) for each in json.load(answer)["connections"])
        return found == {(name, known[name]): COPIES for name in workers}

    until(all_there)


def test_workers_that_are_killed_come_back_and_the_others_go_on_meanwhile(shop: Shop) -> None:
    killed = [compose("ps", "--quiet", name).split()[0] for name in PIPELINE]
    for container in killed:
        run("docker", "exec", "--detach", container, "python", "-c", KILL)  # which ends with the container
    until(lambda: inspect("{{.RestartCount}}", killed) == {"1"})
    shop.place("meanwhile")
    shop.ready("meanwhile")
    until(lambda: inspect("{{.RestartCount}} {{.State.Health.Status}}", killed) == {"1 healthy"})
    assert nothing_was_parked()


def test_nats_that_is_killed_has_everything_when_it_is_started_again(shop: Shop) -> None:
    compose("kill", "--signal", "KILL", "nats")
    shop.place("later")
    compose("start", "nats")
    shop.ready("later", *PLACEMENTS)
    assert nothing_was_parked()


def inspect(what: str, containers: list[str]) -> set[str]:
    """What the engine says of containers."""
    return set(run("docker", "inspect", "--format", what, *containers).split("\n")) - {""}


def nothing_was_parked() -> bool:
    command = ("run", "--rm", "--no-deps", "-e", "MOORAGE_NATS_NKEY=/keys/operator.nk", "scheduler", "dead", "list")
    return "no dead letters" in compose(*command)
