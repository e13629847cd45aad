"""`moorage rebalance` on the whole pipeline, in one process: who is asked returns to where it wants to be."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.cli.hub.evicting import evicted
from services.cli.hub.rebalancing import Rebalanced, rebalanced
from services.cli.support.errors import CommandError
from shared.api import Placement
from shared.broker.tokens import join
from shared.hub.names import DRAIN_TAINT
from shared.hub.resources import PLACEMENTS, SYNCTARGETS
from shared.model.refs import PlacementRef
from shared.pipeline.messages import PIPELINE, Assigned, decoder
from shared.pipeline.topology import PIPELINE_STREAM
from tests.support import worlds
from tests.support.together import Together, together, until

NEAR, FAR = f"{worlds.PLATFORM}/cluster-000", f"{worlds.PLATFORM}/cluster-001"


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[Together]:
    async with together(tmp_path, worlds.world(2, delay=0.01), in_place_seconds=600.0, health_seconds=0.2) as found:
        yield found


async def asked(system: Together, timeout: float = 60.0) -> list[Rebalanced]:
    placements = (await system.user.list(PLACEMENTS, worlds.NAMESPACE, type=Placement)).items
    return [each async for each in rebalanced(system.user, placements, 10, timeout)]


async def cordon(system: Together, name: str, cordoned: bool) -> None:
    platform = system.admin.cluster(worlds.PLATFORM)
    await platform.merge_patch(SYNCTARGETS, name, {"spec": {"unschedulable": cordoned}})


async def test_a_placement_returns_to_its_first_tier_once_it_is_asked_to_look(system: Together) -> None:
    region: dict[str, Any] = {"key": "topology.kubernetes.io/region", "operator": "In", "values": ["region-0"]}
    tiers = [{"name": "near", "required": [{"matchExpressions": [region]}]}, {"name": "anywhere"}]
    await cordon(system, "cluster-000", True)
    await system.place("web", worlds.deployment("web"), affinity={"tiers": tiers})
    await system.reaches("web", "Ready")
    assert await system.chosen("web") == ["cluster-001"]
    await cordon(system, "cluster-000", False)
    (first,) = await asked(system)
    assert (first.state, first.before, first.after, first.why) == ("Moved", ((FAR, 1),), ((NEAR, 1),), "")
    assert await system.applied("web", "cluster-001") is None
    (second,) = await asked(system)
    assert (second.state, second.after) == ("Stays", ((NEAR, 1),))


async def test_of_several_targets_that_are_drained_at_once_it_leaves_as_many_at_a_time_as_its_budget_is(
    tmp_path: Path,
) -> None:
    drained = ("cluster-000", "cluster-001", "cluster-002")
    async with together(tmp_path, worlds.world(6, delay=0.01), in_place_seconds=600.0, health_seconds=0.2) as system:
        targets = {"count": {"min": 3}, "names": list(drained)}
        await system.place("web", worlds.deployment("web"), targets=targets, stability={"disruptionBudget": 1})
        await system.reaches("web", "Ready")
        await system.user.merge_patch(
            PLACEMENTS, "web", {"spec": {"targets": {"names": None}}}, worlds.NAMESPACE
        )  # it may be anywhere now, and stays where it is
        platform = system.admin.cluster(worlds.PLATFORM)
        taint = {"key": DRAIN_TAINT, "effect": "NoExecute"}
        await asyncio.gather(
            *(platform.merge_patch(SYNCTARGETS, name, {"spec": {"taints": [taint]}}) for name in drained)
        )
        seen: list[int] = []

        async def through() -> bool:
            there = {each["spec"]["target"]["name"] for each in await system.bindings()}
            selected = set(await system.chosen("web"))
            seen.append(len(there - selected))
            return there == selected and not selected & set(drained)

        await until(through, "it has left them all")
        assert max(seen) == 1, seen


WEB = PlacementRef(workspace=worlds.TEAM, namespace=worlds.NAMESPACE, name="web")


async def test_who_is_asked_to_leave_a_target_leaves_it_once_and_stays_where_there_is_no_other(
    system: Together,
) -> None:
    await system.place("web", worlds.deployment("web"), stability={"disruptionBudget": 1})
    await system.reaches("web", "Ready")
    (home,) = await system.chosen("web")
    (other,) = {"cluster-000", "cluster-001"} - {home}
    found = await evicted(system.user, WEB, home, 60.0)
    assert (found.target, found.now) == (f"{worlds.PLATFORM}/{home}", ((f"{worlds.PLATFORM}/{other}", 1),))
    assert await system.applied("web", home) is None
    assert (await system.decision("web"))["history"][0]["why"] == f"Rebalance: asked to leave {found.target}"
    with pytest.raises(CommandError, match=f"is not placed in {home}, but in {worlds.PLATFORM}/{other}"):
        await evicted(system.user, WEB, home, 60.0)
    before = await system.applied("web", other)
    await cordon(system, home, True)
    with pytest.raises(CommandError, match=f"stays in {worlds.PLATFORM}/{other}: .*"):
        await evicted(system.user, WEB, other, 60.0)
    await cordon(system, home, False)
    await system.reaches("web", "Ready")
    after = await system.applied("web", other)
    assert before is not None
    assert after is not None
    assert after["metadata"]["uid"] == before["metadata"]["uid"], "a request is over once it is answered"


async def test_what_may_not_run_twice_is_taken_away_without_regard_to_where_it_goes(system: Together) -> None:
    await system.place("web", worlds.deployment("web"), stability={"moves": "BreakBeforeMake"})
    await system.reaches("web", "Ready")
    (home,) = await system.chosen("web")
    found = await evicted(system.user, WEB, home, 60.0)
    await system.reaches("web", "Ready")
    assert [target for target, _ in found.now] != [found.target]
    subject = f"{PIPELINE}.{Assigned.stage}.{join(worlds.TEAM, worlds.NAMESPACE, 'web', found.target)}"
    messages = system.broker.streams[PIPELINE_STREAM].messages.values()
    told = [decoder(Assigned).decode(each.payload) for each in messages if each.subject == subject]
    assert [(each.remove, each.after) for each in told[-1:]] == [(True, ())]
