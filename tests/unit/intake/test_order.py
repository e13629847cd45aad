"""Whatever comes first to hand, wherever a copy dies: what stands is the request whose first message came last."""

import asyncio
import itertools
from collections import Counter
from contextlib import suppress

from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.intake import core
from services.intake.backlog import Backlog
from services.intake.core import RequestRejected
from services.intake.journal import Journal
from shared.broker.bus import Retry
from shared.broker.memory.bus import MemoryBus
from shared.broker.memory.store import MemoryStore
from shared.broker.memory.stream import Stored
from shared.broker.table import Table
from shared.cloudevents import CloudEvent, parse, structured
from shared.model.asking import AnswerEntry
from shared.model.refs import PlacementRef
from shared.pipeline.buckets import ASKED, REQUESTS
from shared.pipeline.requests import STREAM, RequestSubject
from tests.unit.decision.steps import Steps, StepStore

WEB = PlacementRef(workspace="root:team", namespace="shop", name="web")
COPIES = 3
SUBJECTS = [RequestSubject("root:team", user, "place") for user in ("alice", "bob")]


class Office:
    """Copies of intake on one stream, step by step; what stands on the hub at last is the last of `written`."""

    def __init__(self) -> None:
        self.steps = Steps()
        self.bus = MemoryBus()
        self.written: list[str] = []
        self._store = MemoryStore()
        self._numbers = itertools.count()
        self._hands: dict[int, asyncio.Task[None]] = {}

    async def publish(self, name: int) -> None:
        """A message of a request; the names are even for one user and odd for another."""
        event = CloudEvent(id=str(name), source="/tests", type="t", data=b"{}")
        await self.bus.publish(SUBJECTS[name % 2].subject, structured(event), id=str(next(self._numbers)))

    @property
    def waiting(self) -> list[Stored]:
        return list(self.bus.broker.streams[STREAM.name].messages.values())

    async def deliver(self, copy: int, number: int) -> None:
        """Some message that waits comes to a copy that has none in hand."""
        if copy not in self._hands and self.waiting:
            self._hands[copy] = asyncio.create_task(self._handle(self.waiting[number % len(self.waiting)]))
            await self.steps.settle()

    async def step(self, copy: int, steps: int) -> None:
        task = self._hands.get(copy)
        await self.steps.let(task, steps)
        if task is not None and task.done():
            del self._hands[copy]
            task.result()

    async def crash(self, copy: int) -> None:
        task = self._hands.pop(copy, None)
        if task is not None:
            self.steps.waiting.pop(task, None)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def rest(self) -> None:
        """Whatever waits is delivered until nothing does."""
        for number in itertools.count():
            for copy in tuple(self._hands):
                await self.step(copy, 100)
            if not self.waiting:
                return
            assert number < 1000
            await self.deliver(0, number)

    async def _handle(self, message: Stored) -> None:
        """As the worker does it, with a hub that takes what was asked since nothing was written in between."""
        store = StepStore(self._store, self.steps)
        tables = Table(store, REQUESTS), Table(store, ASKED)
        journal = Journal(*tables, Backlog(self.bus), lambda: 0.0, lambda: 0.0)
        asked = RequestSubject.parse(message.subject)
        event = parse(message.payload, message.headers)
        key = core.key_of(asked, event)
        with suppress(Retry):
            entry = await journal.begin(key, "digest", message.sequence, "")
            if entry.answer is None:
                try:
                    await journal.take_turn(WEB, key, message.subject, entry.sequence)
                    await self._write(journal, key, event.id)
                except RequestRejected as why:
                    answer = AnswerEntry(id=key, subject=why.code, event="")
                else:
                    answer = AnswerEntry(id=key, subject="", event="")
                await journal.answer(key, entry, answer)
            self.bus.broker.streams[STREAM.name].remove(message.sequence)

    async def _write(self, journal: Journal, key: str, name: str) -> None:
        while True:
            version = len(self.written)
            if not await journal.is_last(WEB, key):
                raise RequestRejected("Superseded", "")
            await self.steps.turn()
            if version == len(self.written):
                self.written.append(name)
                return


STEP = st.tuples(st.integers(0, 7), st.integers(0, 11), st.integers(1, 5))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=7), st.lists(STEP, max_size=60))
@example([0, 1, 0, 2, 0, 1, 2], [])
@example([0, 1, 0], [(1, 2, 1), (5, 0, 5), (5, 0, 5), (1, 1, 1), (5, 0, 5), (5, 0, 5)])
@example([0, 1, 0], [(1, 1, 1), (5, 0, 5), (5, 0, 5), (1, 1, 1), (5, 0, 5), (5, 0, 5)])
@example([2, 0, 1, 2, 0], [(1, 4, 1), (5, 0, 9), (1, 3, 1), (5, 0, 9), (1, 1, 1), (5, 0, 9), (5, 0, 9)])
def test_the_request_whose_first_message_came_last_is_what_stands(
    published: list[int], script: list[tuple[int, int, int]]
) -> None:
    async def scenario() -> None:
        office = Office()
        await office.bus.provision((STREAM,), ())
        later = list(published)
        for what, number, steps in script:
            if what == 0 or not office.waiting:
                if later:
                    await office.publish(later.pop(0))
            elif what <= 3:
                await office.deliver(number % COPIES, number)
            elif what == 4:
                await office.crash(number % COPIES)
            else:
                await office.step(number % COPIES, steps)
        for name in later:
            await office.publish(name)
        await office.rest()
        assert office.written[-1] == str(list(dict.fromkeys(published))[-1])

    asyncio.run(scenario())


def test_the_stand_in_writes_a_request_once_where_nothing_dies() -> None:
    async def scenario() -> Counter[str]:
        office = Office()
        await office.bus.provision((STREAM,), ())
        for name in (0, 1, 0, 2, 1):
            await office.publish(name)
        await office.rest()
        return Counter(office.written)

    assert set(asyncio.run(scenario()).values()) == {1}
