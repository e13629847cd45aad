"""Targets as a worker sees them, and since when: what that makes of a placement as time goes by."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from services.controller.answers import AnswerTimes
from services.controller.core.observation import KnownDecision, Observation
from services.controller.core.steps import Place, next_step
from services.controller.moves import Moves
from services.controller.observer import Observer
from services.controller.preempted import Victims
from services.controller.settings import ControllerSettings
from shared.api import Placement, Taint, decode_placement
from shared.broker.memory.store import MemoryStore
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.model.refs import Head, PlacementRef
from shared.model.request import HeadEntry, PreviousChoice
from shared.model.target import Target, Terms
from shared.pipeline.buckets import BUCKETS, HEADS, INVENTORY, VICTIMS, WAITING

ON_T = KnownDecision(attempt=1, selected=(PreviousChoice(target="root:p/t"),))
REF = PlacementRef(workspace="root:team", namespace="shop", name="web")
T = Target(workspace="root:p", name="t", ready=True)
DRAINED = msgspec.structs.replace(T, taints=(Taint(key="drain", effect="NoExecute"),))


def placement(**spec: object) -> Placement:
    return decode_placement({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec})


PATIENT = placement(
    targets={"tolerations": [{"key": "drain", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}]}
)


class Lab:
    """An observer that sees an inventory, and nothing else."""

    def __init__(self, store: MemoryStore) -> None:
        self._table = Table(store, INVENTORY)
        self.view = self._table.follow()
        self._observer = Observer(
            settings=ControllerSettings(),
            heads=Table(store, HEADS).follow(),
            waiting=Table(store, WAITING).follow(),
            inventory=self.view,
            clock=lambda: 0.0,
            moves=Moves(ControllerSettings(), lambda: 0.0),
            answers=AnswerTimes(30.0),
            victims=Victims(Table(store, VICTIMS).follow()),
        )

    async def offer(self, target: Target) -> None:
        await self.seen(await self._table.put(join(target.workspace, target.name), target))

    async def withdraw(self) -> None:
        await self.seen(await self._table.delete(join("root:p", "t")))

    async def seen(self, revision: int) -> None:
        assert await self.view.reached(revision, 5.0)

    def leaves(self, at: float, asked: Placement = PATIENT) -> bool:
        """Whether a placement that was decided just now has to leave the target again."""
        head = HeadEntry(head=Head(uid="", generation=0, attempt=1), digest="a.b.c", requested_at=at)
        seen = Observation(
            placement=asked,
            entry=head,
            decision=ON_T,
            targets={"root:p/t": self._observer.sight("root:p/t", at, REF)},
            now=at,
            settings=ControllerSettings(),
        )
        step = next_step(seen)
        return isinstance(step, Place) and (step.cause.code, step.leaving) == ("TargetLost", ("root:p/t",))


@asynccontextmanager
async def lab() -> AsyncIterator[Lab]:
    store = MemoryStore()
    await store.provision(BUCKETS)
    found = Lab(store)
    following = asyncio.create_task(found.view.run())
    await found.view.synced.wait()
    yield found
    following.cancel()


async def test_toleration_seconds_count_from_when_the_taint_was_first_seen() -> None:
    async with lab() as here:
        await here.offer(DRAINED)
        assert [here.leaves(at) for at in (100.0, 129.0, 130.0)] == [False, False, True]
        await here.offer(T)
        assert not here.leaves(140.0)
        await here.offer(DRAINED)
        assert [here.leaves(at) for at in (150.0, 179.0, 180.0)] == [False, False, True]


async def test_who_does_not_tolerate_leaves_at_once() -> None:
    async with lab() as here:
        await here.offer(DRAINED)
        assert here.leaves(100.0, placement())


async def test_a_lost_target_is_waited_for_as_long_as_the_placement_says() -> None:
    async with lab() as here:
        await here.offer(msgspec.structs.replace(T, ready=False, lost_since=100.0))
        patient = placement(stability={"evictionTolerationSeconds": 60})
        assert [here.leaves(at, patient) for at in (159.0, 160.0)] == [False, True]
        assert [here.leaves(at, placement()) for at in (399.0, 400.0)] == [False, True]


async def test_who_tolerates_no_loss_at_all_stays_when_the_others_are_missed_a_little_later() -> None:
    impatient = placement(stability={"evictionTolerationSeconds": 0})
    async with lab() as here:
        for name in "abc":
            await here.offer(Target(workspace="root:p", name=name, ready=True))
        await here.offer(msgspec.structs.replace(T, ready=False, lost_since=100.0))
        assert not here.leaves(100.0, impatient)
        for at, name in enumerate("ab", start=110):
            await here.offer(Target(workspace="root:p", name=name, lost_since=float(at)))
        assert not here.leaves(200.0, impatient)


async def test_who_tolerates_no_loss_at_all_leaves_as_soon_as_it_is_known_that_no_others_are_lost() -> None:
    impatient = placement(stability={"evictionTolerationSeconds": 0})
    async with lab() as here:
        await here.offer(msgspec.structs.replace(T, ready=False, lost_since=100.0))
        assert [here.leaves(at, impatient) for at in (129.0, 130.0)] == [False, True]


@pytest.mark.parametrize(
    ("facts", "leaves"),
    [
        ({}, False),
        ({"claims": {"shop": "root:team", "other": "root:rival"}}, False),
        ({"claims": {"shop": "root:rival"}}, True),
        ({"claims": {"shop": None}}, True),
        ({"claims": {"shop": "root:rival"}, "terms": Terms(per_workspace=True)}, False),
        ({"terms": Terms(protected_namespaces=("shop",))}, True),
        ({"terms": Terms(per_workspace=True, protected_namespaces=("shop-*",))}, True),
    ],
)
async def test_a_target_that_does_not_give_us_the_namespace_is_left(facts: dict[str, Any], leaves: bool) -> None:
    async with lab() as here:
        await here.offer(msgspec.structs.replace(T, **facts))
        assert here.leaves(100.0) is leaves


async def test_a_target_that_is_in_no_inventory_counts_as_gone_after_a_while() -> None:
    async with lab() as here:
        assert [here.leaves(at) for at in (100.0, 109.0, 110.0)] == [False, False, True]
        await here.offer(T)
        assert not here.leaves(111.0)
        await here.withdraw()
        assert [here.leaves(at) for at in (120.0, 129.0, 130.0)] == [False, False, True]
