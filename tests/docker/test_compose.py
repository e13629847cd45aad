"""compose.yaml as people start it: what the README places is placed, each worker is a user of its own, one that dies
comes back.

The image is built first; where it was built from this tree already, MOORAGE_IMAGE_BUILT=1 says so.
"""

import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services import PIPELINE
from tests.support.compose import ROOT, SERVICES
from tests.support.kubectl import KUBECTL, needs_kubectl

pytestmark = [pytest.mark.docker, pytest.mark.long, pytest.mark.timeout(900), needs_kubectl]

SHOP = "https://localhost:6443/clusters/root:apps:shop"
CONNECTIONS = "http://127.0.0.1:8222/connz?auth=1"
PLACEMENTS = ("backend", "background", "payments", "storefront")
STARTED = [name for name in SERVICES if name != "jaeger"]  # which has a test of its own
KILL = """
import glob, os, pathlib
for file in map(pathlib.Path, glob.glob("/proc/[0-9]*/cmdline")):
    if b"worker" in file.read_bytes() and file.parts[2] not in ("1", str(os.getpid())):
        os.kill(int(file.parts[2]), 9)
"""
BOUND = 90.0  # seconds


def run(*command: str, within: float = BOUND) -> str:
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

    def ready(self, *names: str) -> None:
        self.kubectl("wait", "placement", *names, "--for=condition=Ready", "--timeout=60s")


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
    build = "--no-build" if os.environ.get("MOORAGE_IMAGE_BUILT") else "--build"
    try:
        compose("up", "--detach", build, "--scale", "scheduler=3", *STARTED, within=600)
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


def test_each_worker_is_a_user_of_its_own_in_nats(shop: Shop, tmp_path: Path) -> None:
    compose("cp", "nats:/keys/permissions.conf", str(tmp_path / "permissions.conf"))
    accounts = (tmp_path / "permissions.conf").read_text()
    known = dict(re.findall(r'(moorage-\w+): \{\s+users: \[\s+\{\s+nkey: "(\w+)"', accounts))
    assert {f"moorage-{name}" for name in PIPELINE} <= known.keys()

    def all_there() -> bool:
        with urllib.request.urlopen(CONNECTIONS, timeout=5) as answer:
            found = {(each["name"], each["authorized_user"]) for each in json.load(answer)["connections"]}
        return found == {(f"moorage-{name}", known[f"moorage-{name}"]) for name in PIPELINE}

    until(all_there)


def test_a_worker_that_is_killed_comes_back_and_goes_on(shop: Shop) -> None:
    container = compose("ps", "--quiet", "binding").strip()
    compose("exec", "-T", "binding", "python", "-c", KILL)
    workload = {"apiVersion": "v1", "kind": "ConfigMap", "name": "webshop"}
    placement = {
        "apiVersion": "placement.moorage.io/v1alpha1",
        "kind": "Placement",
        "metadata": {"name": "meanwhile"},
        "spec": {"workload": [workload]},
    }
    file = shop.kubeconfig.with_name("meanwhile.json")
    file.write_text(json.dumps(placement))
    shop.kubectl("apply", "-f", str(file))
    shop.ready("meanwhile")
    assert run("docker", "inspect", container, "--format", "{{.RestartCount}}").strip() == "1"
    assert "no dead letters" in compose(
        "run", "--rm", "--no-deps", "-e", "MOORAGE_NATS_NKEY=/keys/operator.nk", "scheduler", "dead", "list"
    )
