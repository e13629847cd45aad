"""A placement asked to leave one of its targets, until it has left, or said that it stays."""

import time
from secrets import token_hex
from typing import Final

import msgspec

from services.cli.support.decisions import Place
from services.cli.support.errors import CommandError
from shared.api import Placement, PlacementBinding, PlacementDecisionStatus, get_condition
from shared.hub.decisions import read_decision
from shared.hub.moving import evicted_from, eviction
from shared.hub.names import EVICT_ANNOTATION, PLACEMENT_LABEL, field_manager, label_value
from shared.hub.resources import BINDINGS, PLACEMENTS
from shared.kube.client import Client
from shared.model.refs import PlacementRef, TargetRef

PAUSE: Final = 0.25  # seconds between two looks; what is refused may be decided as it was a second later
SETTLED: Final = 5.0
"""Seconds without another round after which the last one was the answer: one may have been under way before."""


class Evicted(msgspec.Struct, frozen=True, kw_only=True):
    """From which target it is gone, by its id, and where it is now."""

    target: str
    now: tuple[Place, ...]


async def evicted(client: Client, ref: PlacementRef, named: str, timeout: float) -> Evicted:
    """Ask it to leave the target of this name or id. Raises CommandError where it stays, or is not settled in time."""
    import asyncio

    ends = time.monotonic() + timeout
    placement = await client.get(PLACEMENTS, ref.name, ref.namespace, type=Placement)
    before = await _status(client, ref)
    target = evicted_from(named, selected(before))
    if not target:
        raise CommandError(f"{ref.namespace}/{ref.name} is not placed in {named}{_where(before)}")
    if placement.spec.suspend:
        raise CommandError(f"{ref.namespace}/{ref.name} is suspended, and stays where it is until that ends")
    asked = {"metadata": {"annotations": {EVICT_ANNOTATION: eviction(target, token_hex(4))}}}
    await client.merge_patch(PLACEMENTS, ref.name, asked, ref.namespace, field_manager=field_manager("evict"))
    attempt, since, refusal = before.attempt, time.monotonic(), ""
    while True:
        now = await _status(client, ref)
        left = await _left(client, ref, now)
        if now.attempt != attempt:
            attempt, since, refusal = now.attempt, time.monotonic(), now.rationale if now.refusal else refusal
        if target not in selected(now):
            if target not in left:
                return Evicted(target=target, now=_places(now))
        elif attempt > before.attempt and time.monotonic() - since >= SETTLED and not _is_bounded(left, placement):
            why = refusal or "what was decided says so, by `moorage explain`"
            raise CommandError(f"{ref.namespace}/{ref.name} stays in {_short(target)}: {why}")
        if time.monotonic() >= ends:
            raise CommandError(f"{ref.namespace}/{ref.name} {_waits(target, now, left)}")
        await asyncio.sleep(PAUSE)


def _is_bounded(left: dict[str, PlacementBinding], placement: Placement) -> bool:
    """Whether its budget keeps it from leaving for now, so that the request is still to be answered."""
    budget = placement.spec.stability.disruption_budget
    return budget is not None and len(left) >= budget


def _waits(target: str, now: PlacementDecisionStatus, left: dict[str, PlacementBinding]) -> str:
    """What is still to come, in a few words: the request goes on."""
    if target in selected(now):
        if left:
            return (
                f"still waits to leave {_short(target)}: it is just being removed from {', '.join(map(_short, left))}"
            )
        return "was not decided anew: it is held (see its status), or no controller of this version runs"
    applied = get_condition(left[target].status.conditions, "Applied")
    why = f" ({applied.message})" if applied is not None and applied.status == "False" else ""
    return f"is still being removed from {_short(target)}{why}; it goes on"


async def _left(client: Client, ref: PlacementRef, decision: PlacementDecisionStatus) -> dict[str, PlacementBinding]:
    """What it still has in targets that are not selected."""
    selector = f"{PLACEMENT_LABEL}={label_value(ref.name)}"
    page = await client.list(BINDINGS, ref.namespace, label_selector=selector, type=PlacementBinding)
    mine = {TargetRef.of(each.spec.target).id: each for each in page.items if each.spec.placement_ref.name == ref.name}
    return {target: each for target, each in sorted(mine.items()) if target not in selected(decision)}


async def _status(client: Client, ref: PlacementRef) -> PlacementDecisionStatus:
    found = await read_decision(client, ref.name, ref.namespace)
    return found.status if found is not None else PlacementDecisionStatus()


def selected(decision: PlacementDecisionStatus) -> list[str]:
    """The targets of a decision, by id."""
    return [target for target, _ in _places(decision)]


def _places(decision: PlacementDecisionStatus) -> tuple[Place, ...]:
    return tuple(sorted((TargetRef.of(each.target).id, each.replicas) for each in decision.selected))


def _where(decision: PlacementDecisionStatus) -> str:
    there = ", ".join(map(_short, selected(decision)[:5]))
    return f", but in {there}" if there else ": it runs nowhere"


def _short(target: str) -> str:
    return target.removeprefix("/")
