"""Upkeep of what is charged to quotas: what is charged is what is held, and looking after it holds nobody up."""

import asyncio
from collections.abc import Awaitable, Iterable
from contextlib import AsyncExitStack

import pytest

from services.decision import used
from services.decision.decider import Decider
from services.decision.ledger import key_of
from shared.api import PlacementDecisionStatus
from shared.broker.table import Table
from shared.hub.quotas import NOBODY
from shared.model.decision import Reservation
from shared.model.quota import PLACEMENTS, WorkspaceQuota
from shared.model.refs import PlacementRef
from shared.model.target import Target
from shared.pipeline.buckets import CHARGES, QUOTAS
from tests.support.values import head
from tests.unit.decision.ledgers import wants
from tests.unit.decision.schedules import World, opened

NODE = Target(workspace="root:p", name="a", ready=True, allocatable={"cpu": 1e6})
HELD = 2000


def quota(name: str, bounds: str) -> WorkspaceQuota:
    return WorkspaceQuota(workspace="root", name=name, uid=name, bounds=bounds, hard={"cpu": 1e6})


def ref(number: int) -> PlacementRef:
    return PlacementRef(workspace="root:team", namespace="apps", name=f"x-{number}")


async def holding(stack: AsyncExitStack, placements: int, quotas: Iterable[WorkspaceQuota]) -> World:
    """A world with a copy of decision that knows of so many placements, with a cpu each, and of quotas, uncounted."""
    world = await opened(stack, 1, targets=[NODE])
    for number in range(placements):
        await world.table.put(key_of(NODE.id, ref(number)), wants(ref(number), head(), {"cpu": 1.0}))
    for each in quotas:
        await Table(world.store, QUOTAS).put(each.place, each)
    await world.tell(0, 2 * placements + 10)
    return world


async def count(world: World, *quotas: WorkspaceQuota) -> None:
    """Have quotas counted."""
    counting = asyncio.create_task(used.keep_counted(world.deciders[0]))
    try:
        async with asyncio.timeout(60):
            while not all(map(world.deciders[0].charges.counted, quotas)):
                await world.steps.let(counting, 100)
    finally:
        counting.cancel()


async def charged(world: World, to: WorkspaceQuota) -> dict[str, float]:
    entries = await Table(world.store, CHARGES).entries(to.place)
    held = [each.value for each in entries if each.value.placement != NOBODY]
    return {each.placement.name: each.resources["cpu"] for each in held if each.resources}


async def charge_all(world: World, decider: Decider, to: WorkspaceQuota) -> None:
    """Charge to a quota what all hold."""
    table = Table(world.store, CHARGES)
    for number in range(HELD):
        own = Reservation(placement=ref(number), head=head(), resources={"cpu": 1.0, PLACEMENTS: 1.0})
        await table.put(f"{to.place}.{own.placement.key}", own)
    await world.steps.let(asyncio.create_task(decider.charges.catch_up()), HELD)


async def turns_of_others(task: Awaitable[None]) -> int:
    """How often others have their turn until something is done."""
    turns, done = 0, asyncio.ensure_future(task)
    while not done.done():
        await asyncio.sleep(0)
        turns += 1
    await done
    return turns


async def test_what_is_held_is_gone_through_once_however_many_quotas_there_are_and_others_have_their_turn() -> None:
    async with AsyncExitStack() as stack:
        quotas = [quota("all", "root:team"), *(quota(f"q-{number}", f"root:other-{number}") for number in range(40))]
        world = await holding(stack, HELD, quotas)
        await charge_all(world, world.deciders[0], quotas[0])
        turns = await turns_of_others(used.put_right(world.deciders[0]))
        assert 3 * HELD // used.AT_ONCE <= turns <= 3 * HELD // used.AT_ONCE + 2 * len(quotas)


async def test_new_quotas_are_charged_with_what_is_held_by_those_that_they_bound() -> None:
    async with AsyncExitStack() as stack:
        team, root, other = quota("team", "root:team"), quota("root", "root"), quota("other", "root:other")
        world = await holding(stack, 3, (team, root, other))
        await count(world, team, root, other)
        everything = {"x-0": 1.0, "x-1": 1.0, "x-2": 1.0}
        assert [await charged(world, each) for each in (team, root, other)] == [everything, everything, {}]


@pytest.mark.parametrize("cpu", [0.0, 0.5, 3.0])
async def test_what_is_charged_otherwise_than_it_is_held_is_put_right_of_each_quota(cpu) -> None:
    async with AsyncExitStack() as stack:
        team, root = quota("team", "root:team"), quota("root", "root")
        world = await holding(stack, 2, (team, root))
        await count(world, team, root)
        wrong = Reservation(placement=ref(0), head=head(), resources={"cpu": cpu, PLACEMENTS: 1.0} if cpu else {})
        await Table(world.store, CHARGES).put(f"{root.place}.{ref(0).key}", wrong)
        await world.steps.let(asyncio.create_task(world.deciders[0].charges.catch_up()), 10)
        world.hub.decided[ref(0)] = (1, PlacementDecisionStatus(attempt=1))
        righting = asyncio.create_task(used.put_right(world.deciders[0]))
        await world.steps.let(righting, 100)
        await righting
        assert [await charged(world, each) for each in (team, root)] == [{"x-0": 1.0, "x-1": 1.0}] * 2
