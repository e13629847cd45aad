"""Which targets a placement has to leave, as time goes by."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields

import msgspec
import pytest

from services.controller.core import Decision
from services.controller.reconcile import Reconciler
from services.controller.settings import ControllerSettings
from shared.api import Placement, Taint, decode_placement
from shared.broker.memory.store import MemoryStore
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.model.refs import Head
from shared.model.request import HeadEntry, PreviousChoice
from shared.model.target import Target
from shared.pipeline.buckets import BUCKETS, INVENTORY

ON_T = Decision(attempt=1, selected=(PreviousChoice(target="root:p/t"),))
T = Target(workspace="root:p", name="t", ready=True)
DRAINED = msgspec.structs.replace(T, taints=(Taint(key="drain", effect="NoExecute"),))


def placement(**spec: object) -> Placement:
    return decode_placement({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec})


PATIENT = placement(
    targets={"tolerations": [{"key": "drain", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}]}
)


class Lab:
    """A reconciler that sees an inventory, and nothing else."""

    def __init__(self, store: MemoryStore) -> None:
        self._table = Table(store, INVENTORY)
        self.view = self._table.follow()
        # To say who has to leave takes no more than settings and inventory.
        unused = dict.fromkeys(each.name for each in fields(Reconciler) if each.default is each.default_factory)
        self._reconciler = Reconciler(**{**unused, "settings": ControllerSettings(), "inventory": self.view})

    async def offer(self, target: Target) -> None:
        await self.seen(await self._table.put(join("root:p", "t"), target))

    async def withdraw(self) -> None:
        await self.seen(await self._table.delete(join("root:p", "t")))

    async def seen(self, revision: int) -> None:
        assert await self.view.reached(revision, 5.0)

    def leaves(self, at: float, asked: Placement = PATIENT) -> bool:
        return self._reconciler.leaving(asked, ON_T, at) == ["root:p/t"]

    def improves(self, asked: Placement, decision: Decision, looked_at: float, now: float) -> bool:
        self._reconciler.world_changed_at = now
        head = HeadEntry(head=Head(uid="u", generation=1, attempt=1), digest="", requested_at=looked_at)
        return self._reconciler.may_improve(asked, decision, head, now)


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


async def test_a_target_that_is_in_no_inventory_counts_as_gone_after_a_while() -> None:
    async with lab() as here:
        assert [here.leaves(at) for at in (100.0, 109.0, 110.0)] == [False, False, True]
        await here.offer(T)
        assert not here.leaves(111.0)
        await here.withdraw()
        assert [here.leaves(at) for at in (120.0, 129.0, 130.0)] == [False, False, True]


@pytest.mark.parametrize(
    ("rebalance", "moved_at", "looked_at", "expected"),
    [
        ({"type": "WhenBetter", "cooldown": "1m"}, 0.0, 900.0, True),
        ({"type": "WhenBetter", "cooldown": "1m"}, 950.0, 900.0, False),
        ({"type": "WhenBetter", "cooldown": "1m"}, 0.0, 950.0, False),
        ({"type": "Never"}, 0.0, 900.0, False),
    ],
)
async def test_better_targets_are_looked_for_at_the_pace_that_is_set(rebalance, moved_at, looked_at, expected) -> None:
    async with lab() as here:
        asked = placement(stability={"rebalance": rebalance})
        decision = msgspec.structs.replace(ON_T, moved_at=moved_at)
        assert here.improves(asked, decision, looked_at, 1000.0) is expected
