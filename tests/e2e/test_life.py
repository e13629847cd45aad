"""What may happen to a Placement in the course of its life, on separate processes."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import pytest_asyncio

from shared.broker.nats.connection import connect
from shared.broker.table import Table
from shared.hub.resources import PLACEMENTS, WORKSPACES
from shared.kube.resources import CLUSTERROLEBINDINGS, DEPLOYMENTS, NAMESPACES
from shared.pipeline.buckets import REPORTS, RESERVATIONS
from shared.process.settings import Settings
from tests.e2e.system import System, running_system, until
from tests.support import manifests, worlds
from tests.support.manifests import condition

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("e2e"),
]

DOOMED, UNHEARD = "root:vanishing", "root:unheard"
PRIVATE = "private"  # a target that alice may not use
BRISK = {
    "MOORAGE_RELEASE_SECONDS": "0.5",
    "MOORAGE_REWALK_INTERVAL_SECONDS": "1",
    "MOORAGE_VANISHED_SECONDS": "2",
    "MOORAGE_WAITING_INITIAL_SECONDS": "300",  # what waits is to be woken, not to come again by itself
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory):
    world = worlds.world(2, cpu="8")
    for path in (DOOMED, UNHEARD):
        world["workspaces"].append(path)
        world["users"][0]["workspaces"][path] = "admin"
    world["targets"].append({**world["targets"][0], "name": PRIVATE, "groups": ["insiders"]})
    async with running_system(tmp_path_factory.mktemp("life"), world, env=BRISK) as found:
        yield found


@contextmanager
def halted(system: System, worker: str) -> Iterator[None]:
    """A worker that does nothing for a while."""
    pid = system.running.children[worker].pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def suspend(system: System, name: str, *, suspended: bool) -> None:
    await system.user.merge_patch(PLACEMENTS, name, {"spec": {"suspend": suspended}}, worlds.NAMESPACE)


async def shows(system: System, name: str, phase: str) -> None:
    async def shown():
        return (await system.status(name)).get("phase") == phase

    await until(shown, f"{name} is {phase}")


async def neighbour_is_ready(system: System, name: str) -> None:
    """Whatever was sent before it was handled by now."""
    await system.place_app(name)
    await shows(system, name, "Ready")


async def test_a_running_placement_that_is_suspended_says_so_and_runs_on(system: System):
    await system.place_app("steady")
    await shows(system, "steady", "Ready")
    (home,) = await system.chosen("steady")
    attempt = (await system.decision("steady"))["attempt"]
    await suspend(system, "steady", suspended=True)
    await shows(system, "steady", "Suspended")
    metadata = (await system.placement("steady"))["metadata"]
    assert (await system.status("steady"))["observedGeneration"] == metadata["generation"]
    elsewhere = {"spec": {"targets": {"names": [name for name in system.targets if name != home]}}}
    await system.user.merge_patch(PLACEMENTS, "steady", elsewhere, worlds.NAMESPACE)
    await neighbour_is_ready(system, "beside-steady")
    assert await system.placed("steady") == [home]
    assert (await system.decision("steady"))["attempt"] == attempt

    await suspend(system, "steady", suspended=False)

    async def moved():
        return [name for name in await system.placed("steady") if name != home]

    await until(moved, "it moved as its spec has asked for since")


async def test_a_placement_that_is_made_suspended_is_placed_when_that_ends(system: System):
    await system.place_app("patient", suspend=True)
    await shows(system, "patient", "Suspended")
    assert await system.decision("patient") == {}
    await suspend(system, "patient", suspended=False)
    await shows(system, "patient", "Ready")


@pytest.mark.parametrize("worker", ["policy", "scheduler"])
async def test_a_round_that_is_under_way_decides_nothing_once_suspended(system: System, worker: str):
    name = f"caught-before-{worker}"
    with halted(system, worker):
        await system.place_app(name)

        async def held():
            return (await system.placement(name))["metadata"].get("finalizers")

        await until(held, "the controller has taken it up")
        await suspend(system, name, suspended=True)
        await shows(system, name, "Suspended")
    await neighbour_is_ready(system, f"beside-{worker}")
    assert await system.decision(name) == {}
    assert await system.placed(name) == []
    await suspend(system, name, suspended=False)
    await shows(system, name, "Ready")


async def test_what_was_decided_is_not_bound_once_suspended(system: System):
    with halted(system, "binding"):
        await system.place_app("decided-only")
        await until(lambda: system.chosen("decided-only"), "a decision")
        await suspend(system, "decided-only", suspended=True)
        await shows(system, "decided-only", "Suspended")
    await neighbour_is_ready(system, "beside-binding")
    assert await system.placed("decided-only") == []
    await suspend(system, "decided-only", suspended=False)
    await shows(system, "decided-only", "Ready")


async def test_a_suspended_placement_can_be_deleted(system: System):
    await system.place_app("stopped")
    await shows(system, "stopped", "Ready")
    await suspend(system, "stopped", suspended=True)
    await shows(system, "stopped", "Suspended")
    await system.user.delete(PLACEMENTS, "stopped", worlds.NAMESPACE)

    async def removed():
        return not await system.placed("stopped")

    await until(removed, "what it placed is removed")


# --- a right that is given late --------------------------------------------------------------------------------------


async def test_a_placement_that_waits_for_a_right_is_placed_soon_after_it_is_given(system: System):
    await system.place_app("hopeful", targets={"names": [PRIVATE]})
    await shows(system, "hopeful", "Unschedulable")
    assert "not authorized" in condition(await system.status("hopeful"), "Scheduled")["message"]
    group = CLUSTERROLEBINDINGS.group
    binding = {
        "apiVersion": CLUSTERROLEBINDINGS.api_version,
        "kind": CLUSTERROLEBINDINGS.kind,
        "metadata": {"name": "at-last"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": f"moorage-use-{PRIVATE}"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": worlds.USER}],
    }
    await system.admin.cluster(worlds.PLATFORM).create(CLUSTERROLEBINDINGS, binding)
    await shows(system, "hopeful", "Ready")
    assert await system.chosen("hopeful") == [PRIVATE]


# --- a workspace that vanishes -------------------------------------------------------------------------------------


async def placed_in(system: System, workspace: str, name: str) -> str:
    """A Deployment that is placed from another workspace; where it runs.

    Its namespace is its own: in a target, a namespace belongs to the workspace that was there first.
    """
    client, namespace = system.user.cluster(workspace), workspace.rpartition(":")[2]
    placement = manifests.placement(name, namespace=namespace, targets={"count": {"min": 1}})
    await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    await client.create(DEPLOYMENTS, worlds.deployment(name, namespace=namespace))
    await client.create(PLACEMENTS, placement)

    async def is_ready():
        return (await client.get(PLACEMENTS, name, namespace)).get("status", {}).get("phase") == "Ready"

    await until(is_ready, f"{name} is Ready")
    (home,) = await system.placed(name)
    return home


async def records_of(system: System, workspace: str) -> list[str]:
    """The keys of what is reserved for the placements of a workspace, and reported of them."""
    bus, store = await connect("e2e", Settings(nats_url=system.place.nats))
    try:
        held = [each for each in await Table(store, RESERVATIONS).entries() if not each.value.released_at]
        entries = [*held, *await Table(store, REPORTS).entries()]
        return [each.key for each in entries if each.value.placement.workspace == workspace]
    finally:
        await bus.close()


async def test_what_a_vanished_workspace_placed_is_removed_and_its_capacity_given_back(system: System):
    await placed_in(system, DOOMED, "left-behind")
    await system.place_app("bystander")
    await shows(system, "bystander", "Ready")
    assert await records_of(system, DOOMED)
    await system.admin.cluster("root").delete(WORKSPACES, "vanishing")  # a sandbox asks no finalizers

    async def removed():
        return not await system.placed("left-behind")

    await until(removed, "what it placed is removed")

    async def forgotten():
        return not await records_of(system, DOOMED)

    await until(forgotten, "nothing is reserved or reported for it any more")
    assert await system.placed("bystander")


async def test_nothing_is_removed_while_nobody_can_say_that_the_workspace_is_gone(system: System):
    home = await placed_in(system, UNHEARD, "kept")
    root = system.admin.cluster("root")
    control = system.admin.at(system.admin.base.split("/clusters/")[0])
    fault = {"kind": "503", "cluster": "root", "verb": "get", "resource": "workspaces*"}
    made = json.loads(await control.request("POST", "/sandbox/faults", body=fault))
    await root.delete(WORKSPACES, "unheard")

    async def asked_for_longer_than_the_grace():
        found = json.loads(await control.request("GET", f"/sandbox/faults/{made['id']}"))
        return found["hits"] * float(BRISK["MOORAGE_RELEASE_SECONDS"]) > 2 * float(BRISK["MOORAGE_VANISHED_SECONDS"])

    await until(asked_for_longer_than_the_grace, "decision asked, and asked again")
    assert await system.placed("kept") == [home]
    await control.request("DELETE", f"/sandbox/faults/{made['id']}")

    async def removed():
        return not await system.placed("kept")

    await until(removed, "what it placed is removed once the hub says that the workspace is gone")
