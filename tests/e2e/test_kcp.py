"""From an empty kcp to a placed workload by the commands of docs/kcp.md, and what happens later; on the sandbox, too.

The workers log in as the page says: each by a token of its own, with no rights but those that `moorage bind` gives.
"""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from services.cli.hub.kcp import workers
from services.cli.hub.objects import KINDS
from shared.api.generate.crds import crd
from shared.api.resources import RESOURCES
from shared.hub.names import REQUESTER_ANNOTATION
from shared.hub.resources import BINDINGS, DECISIONS, PLACEMENTS, WORKSPACES
from shared.kube.resources import CRDS, DEPLOYMENTS
from tests.conformance.backends import KCP
from tests.e2e.tree import (
    ACME,
    ALICE,
    BOB,
    BOUND,
    EVERYTHING,
    MALLORY,
    NAMESPACE,
    PLATFORM,
    STARTING,
    TEAM,
    USERS,
    Consumer,
    Tree,
    may_list,
    tree,
    until,
)
from tests.support.client import if_there
from tests.support.grants import ACCESS, USING, grant
from tests.support.kcp import NoKcp, add_workspace
from tests.support.manifests import condition

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(STARTING + 2 * BOUND),
    pytest.mark.asyncio(loop_scope="module"),
]
SANDBOX = pytest.param("sandbox", marks=[pytest.mark.long, pytest.mark.xdist_group("e2e-tree")])


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[SANDBOX, KCP])
async def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tree]:
    folder = tmp_path_factory.mktemp(request.param)
    try:
        async with tree(request.param, folder) as found:
            yield found
    except NoKcp as reason:
        pytest.skip(str(reason))


async def test_what_the_page_places_is_placed_with_the_rights_of_each_worker_alone(running: Tree) -> None:
    team = running.team()
    assert (await team.status("web"))["phase"] == "Ready"
    assert await running.placed("web") is not None
    (made,) = (await team.client.list(BINDINGS, NAMESPACE)).items
    assert (made["spec"]["target"]["workspace"], made["spec"]["target"]["name"]) == (PLATFORM, "east")
    recorded = (await team.client.get(PLACEMENTS, "web", NAMESPACE))["metadata"]["annotations"][REQUESTER_ANNOTATION]
    assert json.loads(recorded)["username"] == "admin"

    async def told() -> bool:
        found = await team.client.get(DEPLOYMENTS, "web", NAMESPACE)
        return (found.get("status") or {}).get("availableReplicas") == 1

    await until(told, "what became of it is told on the workload")


async def test_who_may_use_the_target_is_placed_and_who_may_not_is_not_until_it_is_granted(running: Tree) -> None:
    for user in (ALICE, BOB):
        await running.entitle(user, TEAM)
        await until(lambda user=user: may_list(running.team(user).client, PLACEMENTS), f"{user} may place")
    alice, bob = running.team(ALICE), running.team(BOB)
    await alice.place("hers")
    await alice.ready("hers")
    await bob.place("his")
    refused = await until(
        lambda: bob.status("his"), "his is refused", holds=lambda each: each.get("phase") == "Unschedulable"
    )
    assert "1 not authorized (no access to the workspace)" in condition(refused, "Scheduled")["message"], refused
    assert await running.placed("his") is None
    await grant(running.admin.cluster(PLATFORM), BOB, ACCESS)

    async def let_in() -> bool:
        return condition(await bob.status("his"), "Scheduled")["message"].endswith("1 not authorized")

    await until(let_in, "he is told that it is `use` that he lacks")
    await grant(running.admin.cluster(PLATFORM), BOB, ACCESS, USING)
    await bob.ready("his")
    assert await running.placed("his") is not None


async def test_a_deleted_placement_leaves_nothing_behind(running: Tree) -> None:
    team = running.team()
    await team.place("brief")
    await team.ready("brief")
    await team.client.delete(PLACEMENTS, "brief", NAMESPACE)
    await team.gone("brief")
    assert await running.placed("brief") is None


async def test_a_workspace_that_is_made_again_under_its_path_gets_nothing_of_the_first(running: Tree) -> None:
    first = await running.consumer("fleeting")
    await first.place("old")
    await first.ready("old")
    acme = running.admin.cluster(ACME)
    uid = (await acme.get(WORKSPACES, "fleeting"))["metadata"]["uid"]
    await acme.delete(WORKSPACES, "fleeting")

    async def gone() -> bool:
        return await if_there(acme.get(WORKSPACES, "fleeting")) is None

    await until(gone, "the workspace is gone")
    await running.cleared("old", "fleeting")
    second = await running.consumer("fleeting")
    assert (await acme.get(WORKSPACES, "fleeting"))["metadata"]["uid"] != uid
    await second.place("new")
    await second.ready("new")
    for kind in (PLACEMENTS, DECISIONS):
        assert [each["metadata"]["name"] for each in (await second.client.list(kind)).items] == ["new"]
    assert await running.placed("old", "fleeting") is None


async def test_kinds_that_a_workspace_made_itself_are_not_served(running: Tree) -> None:
    """Nobody but its administrator says there on whose behalf a Placement is."""
    await add_workspace(running.admin.cluster(ACME), MALLORY)
    await running.entitle(MALLORY, f"{ACME}:{MALLORY}")
    own = Consumer(running.clients[MALLORY].cluster(f"{ACME}:{MALLORY}"), MALLORY)
    await until(lambda: may_list(own.client, CRDS), "mallory is the administrator of a workspace")
    for each in [*map(crd, RESOURCES), *workers()]:
        await own.client.create(KINDS[each["kind"]], each)
    await grant(own.client, ALICE, *EVERYTHING)  # whoever asks must be able to read what is placed
    await own.serve_deployments()
    await until(lambda: may_list(own.client, PLACEMENTS), "Placements of her own are served")
    alice = {"username": ALICE, "uid": ALICE, "groups": [*USERS[ALICE], "system:authenticated"], "extra": {}}
    await own.place("forged", {REQUESTER_ANNOTATION: json.dumps(alice)})
    team = running.team()
    await team.place("beside")
    await team.ready("beside")  # so that whatever would have become of hers has become of it
    assert await own.status("forged") == {}
    for kind in (DECISIONS, BINDINGS):
        assert (await own.client.list(kind)).items == []
    assert await running.placed("forged", MALLORY) is None


async def test_a_hub_that_is_started_again_is_gone_on_with(running: Tree) -> None:
    if running.server.restart is None:
        pytest.skip("the sandbox keeps nothing: there is nothing to go on with when it is started again")
    team = running.team()
    await team.place("before")
    await team.ready("before")
    placed = await running.placed("before")
    assert placed is not None
    await asyncio.to_thread(running.server.restart)
    await team.place("after")
    await team.ready("after")
    await team.ready("before")
    kept = await running.placed("before")
    assert kept is not None
    for mark in ("uid", "generation"):
        assert kept["metadata"][mark] == placed["metadata"][mark]
    await team.client.delete(PLACEMENTS, "before", NAMESPACE)
    await team.gone("before")
    assert await running.placed("before") is None
