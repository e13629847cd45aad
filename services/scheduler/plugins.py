"""Plugins: scorers and filters in other processes, asked over the bus. The contract is in docs/scheduler.md.

A question goes to `moorage.plugins.scorer.<name>` or `moorage.plugins.filter.<name>`, in batches of targets; whoever
answers gives one value per target. No answer in time, or none that can be used, is an abstention: it never holds up or
refuses a placement. A plugin that failed is left alone for a while.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from services.scheduler.candidates import PluginAnswers
from services.scheduler.demand import demands_of
from services.scheduler.scorers.plugin import PREFIX
from services.scheduler.settings import PLUGINS, SchedulerSettings
from services.scheduler.snapshot import Snapshot
from shared.aio.lru import Lru
from shared.broker.bus import Bus, BusError
from shared.broker.tokens import escape
from shared.columns import Array
from shared.model.request import Request, WorkloadObject
from shared.model.resources import Resources

log = logging.getLogger("moorage.scheduler")

BATCH = 1000
"""Targets in one question; their facts take some 300 bytes each, and NATS takes 1 MiB."""

REMEMBERED = 1000
"""Plugins that failed, of which it is known until when they rest."""

Ask = Callable[[str, bytes, float], Awaitable[bytes]]
"""A request to a subject with a deadline in seconds; raises `BusError` when nobody answers in time."""


class TargetFacts(msgspec.Struct, frozen=True, rename="camel"):
    """A target as plugins are told of it, amounts in base units."""

    id: str
    labels: dict[str, str]
    allocatable: Resources
    allocated: Resources
    usage: Resources
    latency: dict[str, float]


class PluginQuestion(msgspec.Struct, frozen=True, rename="camel"):
    """A question to a plugin: of which placement, what it takes without overrides, and about which targets."""

    placement: str
    labels: dict[str, str]
    args: dict[str, Any]
    demand: Resources
    workload: tuple[WorkloadObject, ...]
    previous: tuple[str, ...]
    targets: tuple[TargetFacts, ...]


class Scores(msgspec.Struct, frozen=True):
    """A scorer's answer: 0..100 per target in the order of the question, null for one that it knows nothing of."""

    scores: list[float | None]


class Excluded(msgspec.Struct, frozen=True):
    """A filter's answer: per target null, or a few words that say why it is excluded."""

    excluded: list[str | None]


def asking(bus: Bus) -> Ask | None:
    """How to ask over a bus; None where it has no requests (the bus in memory)."""
    from shared.broker.nats.bus import NatsBus

    if not isinstance(bus, NatsBus):
        return None
    client = bus.client

    async def ask(subject: str, payload: bytes, deadline: float) -> bytes:
        return (await client.request(subject, payload, deadline=deadline)).data

    return ask


class Plugins:
    """Asks the plugins that a request names (scorers) or the installation has (filters)."""

    def __init__(
        self, settings: SchedulerSettings, ask: Ask | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._deadline = settings.plugin_seconds
        self._rest = settings.plugin_rest_seconds
        self._filters = [name.strip() for name in settings.plugin_filters.split(",") if name.strip()]
        self._resting: Lru[str, float] = Lru(REMEMBERED)

    async def ask(self, request: Request, targets: Sequence[str], snapshot: Snapshot) -> PluginAnswers:
        """A column per plugin over the targets, in their order; plugins that abstain have none."""
        wanted: dict[tuple[str, str], dict[str, Any]] = {("filter", name): {} for name in self._filters} | {
            ("scorer", each.name.removeprefix(PREFIX)): each.args
            for each in request.spec.strategy.scorers
            if each.name.startswith(PREFIX)
        }
        if not wanted or self._ask is None or not targets:
            return {}
        facts = [_facts(target, snapshot) for target in targets]
        answers = await asyncio.gather(*(self._column(key, args, request, facts) for key, args in wanted.items()))
        return {key: column for key, column in zip(wanted, answers, strict=True) if column is not None}

    async def _column(
        self, key: tuple[str, str], args: Mapping[str, Any], request: Request, facts: list[TargetFacts]
    ) -> Array | None:
        kind, name = key
        subject = f"{PLUGINS}.{kind}.{escape(name)}"
        if (self._resting.get(subject) or 0.0) > self._clock():
            return None
        batches = [facts[start : start + BATCH] for start in range(0, len(facts), BATCH)]
        try:
            parts = await asyncio.gather(*(self._batch(subject, kind, args, request, batch) for batch in batches))
        except (BusError, msgspec.DecodeError, ValueError) as error:
            self._resting.put(subject, self._clock() + self._rest)  # placements name plugins freely: it is bounded
            log.warning("plugin abstains", extra={"plugin": subject, "error": str(error)[:200], "rests": self._rest})
            return None
        return np.concatenate(parts)

    async def _batch(
        self, subject: str, kind: str, args: Mapping[str, Any], request: Request, facts: list[TargetFacts]
    ) -> Array:
        assert self._ask is not None
        question = PluginQuestion(
            placement=str(request.placement),
            labels=request.labels,
            args=dict(args),
            demand=demands_of(request)[0].reserve(None, nodes=1.0),
            workload=request.workload,
            previous=tuple(choice.target for choice in request.previous),
            targets=tuple(facts),
        )
        answer = await self._ask(subject, msgspec.json.encode(question), self._deadline)
        column: Array
        if kind == "scorer":
            points = msgspec.json.decode(answer, type=Scores).scores
            column = np.array([np.nan if each is None else each for each in points], np.float64)
        else:
            column = np.array([*msgspec.json.decode(answer, type=Excluded).excluded, None], object)[:-1]
        if len(column) != len(facts):
            raise ValueError(f"{len(column)} values for {len(facts)} targets")
        return column


def _facts(target: str, snapshot: Snapshot) -> TargetFacts:
    row = snapshot.rows.get(target)
    if row is None:
        return TargetFacts(target, {}, {}, {}, {}, {})
    known = snapshot.target(row)
    return TargetFacts(target, known.labels, known.allocatable, known.allocated, known.usage, known.latency)
