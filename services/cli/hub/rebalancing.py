"""Placements asked to look for better targets, a few at a time, each until it has moved or said that it stays."""

import time
from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from services.cli.support.decisions import Place
from shared.api import Placement, PlacementBinding, PlacementDecisionStatus
from shared.hub.decisions import read_decision
from shared.hub.names import PLACEMENT_LABEL, REBALANCE_ANNOTATION, field_manager, label_value
from shared.hub.resources import BINDINGS, PLACEMENTS
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.times import rfc3339
from shared.model.refs import TargetRef

PAUSE: Final = 1.0  # seconds between two looks
_SETTLED = ("Ready", "Degraded", "Unschedulable", "Idle")  # phases in which nothing is under way

RebalanceState = Literal["Moved", "Stays", "Skipped", "Waits"]


class Rebalanced(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of one placement: Waits, where it was not settled in time; `why` it was skipped, or waits."""

    namespace: str
    name: str
    state: RebalanceState
    before: tuple[Place, ...] = ()
    after: tuple[Place, ...] = ()
    why: str = ""


async def rebalanced(
    client: Client, placements: Iterable[Placement], at_once: int, timeout: float
) -> AsyncIterator[Rebalanced]:
    """Ask so many at a time, and say of each what became of it. Raises what the hub answers."""
    import asyncio

    ends = time.monotonic() + timeout
    slots = asyncio.Semaphore(at_once)

    async def one(placement: Placement) -> Rebalanced:
        async with slots:
            return await _Rebalancing(client, placement).through(ends)

    tasks = [asyncio.create_task(one(each)) for each in placements]
    try:
        for done in asyncio.as_completed(tasks):
            yield await done
    finally:
        for task in tasks:
            task.cancel()


class _DeletedError(Exception):
    """The Placement is being deleted."""


@dataclass
class _Rebalancing:
    client: Client
    placement: Placement
    left_before: frozenset[str] = frozenset()
    """The targets that it was leaving before it was asked, by id: one that is lost may keep it for long."""

    async def through(self, ends: float) -> Rebalanced:
        """Ask it until it stays, if it is still there."""
        try:
            return await self._through(ends)
        except ApiError as error:
            if not error.absent(self.placement.metadata.name):
                raise
        except _DeletedError:
            pass
        return self._say("Skipped", (), (), "it was deleted meanwhile")

    async def _through(self, ends: float) -> Rebalanced:
        """Once, unless it has a budget, by which it may not move as a whole."""
        found = await self._status()
        begun = places(found)
        if why := _skipped(self.placement, begun):
            return self._say("Skipped", begun, begun, why)
        self.left_before = frozenset(await self._left({target for target, _ in begun}))
        rounds = 1 if self.placement.spec.stability.disruption_budget is None else len(begun) + 1
        before = begun
        for _ in range(rounds):
            if time.monotonic() >= ends:
                return self._say("Waits", begun, before, "it was not asked any more")
            if why := await self._ask(found.attempt, ends):
                return self._say("Waits", begun, places(await self._status()), why)
            found = await self._status()
            if places(found) == before:
                break
            before = places(found)
        return self._say("Stays" if before == begun else "Moved", begun, before)

    async def _ask(self, attempt: int, ends: float) -> str:
        """Ask, and wait until what was decided then is in place; why that is not so in time, else nothing."""
        import asyncio

        metadata = self.placement.metadata
        asked = {"metadata": {"annotations": {REBALANCE_ANNOTATION: rfc3339(time.time())}}}
        await self.client.merge_patch(
            PLACEMENTS, metadata.name, asked, metadata.namespace, field_manager=field_manager("rebalance")
        )
        while why := await self._waits_for(attempt):
            if time.monotonic() >= ends:
                return why
            await asyncio.sleep(PAUSE)
        return ""

    async def _waits_for(self, attempt: int) -> str:
        """What is still to come before it is settled, in a few words; empty where it is."""
        metadata = self.placement.metadata
        now = await self.client.get(PLACEMENTS, metadata.name, metadata.namespace, type=Placement)
        if now.metadata.deletion_timestamp:
            raise _DeletedError
        decision = await self._status()
        if decision.attempt <= attempt:
            return "it was not decided anew: it is held (see its status), or no controller of this version runs"
        selected = {target for target, _ in places(decision)}
        shown = {TargetRef.of(each).id for each in now.status.targets}
        if now.status.phase not in _SETTLED or (not selected <= shown and now.status.phase != "Unschedulable"):
            return f"it is {now.status.phase} where it goes"
        left = sorted(await self._left(selected) - self.left_before)
        return f"it is being removed from {', '.join(each.removeprefix('/') for each in left)}" if left else ""

    async def _left(self, selected: Collection[str]) -> set[str]:
        """The targets in which it still is, by id, though they are not selected."""
        metadata = self.placement.metadata
        selector = f"{PLACEMENT_LABEL}={label_value(metadata.name)}"
        page = await self.client.list(BINDINGS, metadata.namespace, label_selector=selector, type=PlacementBinding)
        mine = (each for each in page.items if each.spec.placement_ref.name == metadata.name)
        return {TargetRef.of(each.spec.target).id for each in mine} - set(selected)

    async def _status(self) -> PlacementDecisionStatus:
        metadata = self.placement.metadata
        found = await read_decision(self.client, metadata.name, metadata.namespace)
        return found.status if found is not None else PlacementDecisionStatus()

    def _say(
        self, state: RebalanceState, before: tuple[Place, ...], after: tuple[Place, ...], why: str = ""
    ) -> Rebalanced:
        metadata = self.placement.metadata
        return Rebalanced(
            namespace=metadata.namespace, name=metadata.name, state=state, before=before, after=after, why=why
        )


def places(decision: PlacementDecisionStatus) -> tuple[Place, ...]:
    """The targets that are decided, in order."""
    return tuple(sorted((TargetRef.of(each.target).id, each.replicas) for each in decision.selected))


def _skipped(placement: Placement, places: tuple[Place, ...]) -> str:
    """Why nobody need ask it, if so."""
    if placement.metadata.deletion_timestamp:
        return "it is being deleted"
    if placement.spec.suspend:
        return "it is suspended"
    return "" if places else "it runs nowhere"
