"""docs/upgrade.md on a kind that is stored in a new version: its commands, on the sandbox and on a real API server."""

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import CRDS, NAMESPACES, Resource
from tests.conformance.api import until
from tests.conformance.backends import BACKENDS, REQUIRED, Backend, NotHere
from tests.e2e.pages import blocks
from tests.support.manifests import obj, placement
from tests.support.process import BIN, process
from tests.support.scene import ROOT, definitions

pytestmark = pytest.mark.timeout(300)

GROUP, OLD, NEW = "placement.moorage.io", "v1alpha1", "v1beta1"
PLACEMENTS = Resource(GROUP, NEW, "placements", kind="Placement")
TARGETS = Resource(GROUP, NEW, "synctargets", False, "SyncTarget")


@pytest.fixture(
    params=["sandbox", pytest.param("kubernetes", marks=[pytest.mark.servers, pytest.mark.xdist_group("servers")])]
)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """A server of its own, since it gets our kinds. Skips, and says why, where it cannot be had."""
    try:
        with BACKENDS[request.param](tmp_path) as found:
            yield found
    except NotHere as reason:
        pytest.fail(str(reason)) if os.environ.get(REQUIRED) else pytest.skip(str(reason))


def of_two_versions(definition: dict[str, Any]) -> dict[str, Any]:
    """A definition as a release would have it that stores a new version, and serves both."""
    (old,) = definition["spec"]["versions"]
    return {"spec": {"versions": [{**old, "storage": False}, {**copy.deepcopy(old), "name": NEW}]}}


def of_the_page() -> str:
    (commands,) = (each for each in blocks((ROOT / "docs/upgrade.md").read_text()) if "migrate()" in each)
    return commands


KUBECTL = """#!/bin/sh
# Stands in for kubectl, where one command fails as it would without a server.
echo "$*" >> "$CALLS"
case "$*" in "$FAILS"*) exit 1 ;; esac
case "$*" in
  "get crds"*) echo customresourcedefinition.apiextensions.k8s.io/placements.placement.moorage.io ;;
  "get crd"*) echo v1beta1 ;;
  get*) printf -- '--namespace=shop web\n--namespace=shop api\n' ;;
esac
"""


@pytest.mark.parametrize(
    ("fails", "recorded"),
    [
        ("nothing", True),
        ("get placements.placement.moorage.io", False),
        ("patch placements.placement.moorage.io --type merge -p {} --namespace=shop web", False),
        ("get crd placements.placement.moorage.io", False),
    ],
)
async def test_an_old_version_stays_on_record_where_something_fails(tmp_path: Path, fails: str, recorded: bool) -> None:
    calls, kubectl = tmp_path / "calls", tmp_path / "kubectl"
    kubectl.write_text(KUBECTL)
    kubectl.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(calls), "FAILS": fails}
    async with process(["bash", "-uc", of_the_page()], env) as operator:
        assert (await operator.ends(within=60) == 0) is recorded, operator.output
    record = 'patch crd placements.placement.moorage.io --subresource status --type merge -p {"status": '
    asked = [each for each in calls.read_text().splitlines() if each.startswith("patch crd ")]
    assert asked == ([record + '{"storedVersions": ["v1beta1"]}}'] if recorded else [])


async def test_after_the_commands_of_the_page_the_old_version_can_be_dropped(server: Backend, tmp_path: Path) -> None:
    commands = of_the_page()
    async with Client(load_kubeconfig(server.admin), timeout=60) as admin:
        kinds = definitions()
        for each in kinds:
            await admin.create(CRDS, each)
        await admin.create(NAMESPACES, obj("Namespace", name="shop", namespace=""))

        async def is_there(resource: Resource, body: dict[str, Any]) -> bool:
            try:
                await admin.create(resource, body)
            except ApiError as error:
                if error.not_found or error.transient:  # not served yet
                    return False
                raise
            return True

        old = Resource(GROUP, OLD, "placements", kind="Placement")
        await until(lambda: is_there(old, placement("web", namespace="shop")), "Placements are served")
        target = {"apiVersion": f"{GROUP}/{OLD}", "kind": "SyncTarget", "metadata": {"name": "east"}, "spec": {}}
        await until(lambda: is_there(Resource(GROUP, OLD, "synctargets", False), target), "SyncTargets are served")
        before = await admin.get(old, "web", "shop")
        for each in kinds:
            await admin.merge_patch(CRDS, each["metadata"]["name"], of_two_versions(each))

        async def stored() -> list[list[str]]:
            return [(await admin.get(CRDS, each["metadata"]["name"]))["status"]["storedVersions"] for each in kinds]

        await until(stored, "both count as stored", holds=lambda found: all(each == [OLD, NEW] for each in found))
        env = {**os.environ, "KUBECONFIG": str(server.admin), "PATH": f"{BIN}:{os.environ['PATH']}"}
        env["HOME"] = str(tmp_path)  # where kubectl remembers what servers serve
        async with process(["bash", "-euc", commands], env) as operator:
            assert await operator.ends(within=200) == 0, operator.output
        assert "placement.placement.moorage.io/web patched" in operator.output
        assert "synctarget.placement.moorage.io/east patched" in operator.output
        assert await stored() == [[NEW]] * len(kinds)
        for each in kinds:
            alone = {"spec": {"versions": [{**each["spec"]["versions"][0], "name": NEW}]}}
            await admin.merge_patch(CRDS, each["metadata"]["name"], alone)
        after = await admin.get(PLACEMENTS, "web", "shop")
        assert after["spec"] == before["spec"]
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        assert (await admin.get(TARGETS, "east"))["apiVersion"] == f"{GROUP}/{NEW}"
