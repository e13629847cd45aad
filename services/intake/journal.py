"""What was asked for, in which order, and how it was answered: what makes a request that comes twice one request.

A request is known by its source and id for a day. Requests about one placement are carried out one after the other, in
the order in which the stream took them: of two copies, the one with the later request waits for the other one to have
answered, and a request that comes to hand after a later one was begun is not carried out any more.

A request that was published several times has the place of its first message, whichever comes to hand first. That one
either waits in the stream still, where it is looked for before two requests are compared by their places, or it was
seen, and then the entry of the request has its place.
"""

import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from services.intake.backlog import Backlog
from services.intake.core import RequestRejected
from shared.aio.lru import Lru
from shared.broker.bus import Retry
from shared.broker.store import Conflict
from shared.broker.table import Table
from shared.kube.times import rfc3339
from shared.model.asking import AnswerEntry, LastAsked, RequestEntry
from shared.model.refs import PlacementRef

TRIES = 10
PATIENCE = 60.0
"""Seconds that a request waits for an earlier one about the same placement. One whose copy died comes again in 30."""
LOOK_AGAIN = 0.3  # seconds


class Journal:
    """The buckets `requests` and `asked`. `clock` gives seconds since 1970, for people; by `waited` it has patience."""

    def __init__(
        self,
        requests: Table[RequestEntry],
        asked: Table[LastAsked],
        backlog: Backlog,
        clock: Callable[[], float],
        waited: Callable[[], float] = time.monotonic,
    ) -> None:
        self._requests = requests
        self._asked = asked
        self._backlog = backlog
        self._clock = clock
        self._waited = waited
        self._since: Lru[str, float] = Lru(10_000)

    async def begin(self, key: str, digest: str, sequence: int, about: str) -> RequestEntry:
        """Note that a request is begun, or find that it was, and which place in the stream is its first.

        Raises RequestRejected where another has its name.
        """
        entry = RequestEntry(digest=digest, sequence=sequence, at=rfc3339(self._clock(), "seconds"), about=about)
        revision = 0
        for _ in range(TRIES):
            with suppress(Conflict):
                await self._requests.update(key, entry, revision)
                return entry
            found = await self._requests.get(key)
            if found is None:
                revision = 0
                continue
            if found.value.digest != digest:
                raise RequestRejected("IdInUse", _in_use(found.value))
            if found.value.sequence <= sequence:
                return found.value
            entry, revision = msgspec.structs.replace(found.value, sequence=sequence), found.revision
        raise Retry(LOOK_AGAIN, "its entry keeps changing")

    async def take_turn(self, placement: PlacementRef, key: str, subject: str, sequence: int) -> None:
        """Be the last request about a placement that was begun; it was published on `subject`.

        Raises Retry while an earlier one is not answered, and RequestRejected where a later one was begun.
        """
        mine = LastAsked(sequence=sequence, request=key, subject=subject)
        for _ in range(TRIES):
            last = await self._asked.get(placement.key)
            if last is not None:
                if last.value.request == key:
                    return
                await self._check(last.value, mine, placement)
            try:
                await self._asked.update(placement.key, mine, 0 if last is None else last.revision)
            except Conflict:
                continue
            return
        raise Retry(LOOK_AGAIN, "others ask about the same placement")

    async def is_last(self, placement: PlacementRef, key: str) -> bool:
        """Whether no later request about a placement was begun."""
        last = await self._asked.get(placement.key)
        return last is not None and last.value.request == key

    async def answer(self, key: str, entry: RequestEntry, answer: AnswerEntry) -> AnswerEntry:
        """Note how a request is answered, once; returns the answer that stands, which may be that of another copy."""
        for _ in range(TRIES):
            found = await self._requests.get(key)
            if found is not None and found.value.answer is not None:
                return found.value.answer
            answered = msgspec.structs.replace(entry if found is None else found.value, answer=answer)
            try:
                await self._requests.update(key, answered, 0 if found is None else found.revision)
            except Conflict:
                continue
            return answer
        raise Retry(LOOK_AGAIN, "its entry keeps changing")

    async def _check(self, last: LastAsked, mine: LastAsked, placement: PlacementRef) -> None:
        if not await self._is_later(mine, last):
            raise RequestRejected("Superseded", f"a later request about {placement} was carried out, or is being so")
        earlier = await self._requests.get(last.request)
        if earlier is None or earlier.value.answer is not None:
            return
        since = self._since.get(last.request)
        if since is None:
            self._since.put(last.request, since := self._waited())
        if self._waited() - since < PATIENCE:
            raise Retry(LOOK_AGAIN, f"an earlier request about {placement} is not answered yet")

    async def _is_later(self, mine: LastAsked, last: LastAsked) -> bool:
        """Whether a request has its first place after that of another.

        Of the one that seems to be later an earlier message is looked for, until there is none before the other one.
        """
        ours, theirs = mine.sequence, last.sequence
        while True:
            if ours > theirs:
                ours = await self._place(mine, before=theirs)
                if ours > theirs:
                    return True
            else:
                theirs = await self._place(last, before=ours)
                if theirs > ours:
                    return False

    async def _place(self, asked: LastAsked, before: int) -> int:
        """The first place of a request, as far as it matters whether it is before another one.

        It is looked for in the stream first: what is not there any more was seen, and is in the entry by then.
        """
        found = await self._backlog.first(asked.request, asked.subject, before)
        if found is not None:
            return found
        entry = await self._requests.get(asked.request)
        return asked.sequence if entry is None else min(asked.sequence, entry.value.sequence)


def _in_use(first: RequestEntry) -> str:
    return (
        f"its source and id are those of a request about {first.about} that came first, at {first.at}"
        f" (number {first.sequence} of the stream), and asked for something else"
    )
