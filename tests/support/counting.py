"""What a placement costs in numbers that no machine changes: requests, messages, events, writes to buckets."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from statistics import median_low

import nats
from nats.aio.msg import Msg

from services.sandbox.wire.tally import Tally
from shared.pipeline.events import EVENTS_SUBJECT
from shared.pipeline.messages import PIPELINE

Counts = dict[str, dict[str, int]]
"""How often each thing happened: by `requests`, `messages`, `events`, `writes`, then by name."""

Happened = Counter[tuple[str, str]]
"""The same of one run, by kind and name."""

OURS = "moorage-"
FOLLOWERS = frozenset(("controller", "discovery", "status"))
"""Workers that list only to begin a watch, or to see whether a workspace serves by now what they are to watch."""

QUIET = 1.3  # seconds in which nothing happens, after which nothing is thought to follow: status pauses for one at most
STEP = 0.1  # seconds between two looks
PATIENCE = 60.0  # seconds until it must be quiet
KINDS = ("requests", "messages", "events", "writes")


class Meter:
    """Counts what a system does, from outside: what its API servers were asked, and what passed through NATS."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._bus: Happened = Counter()

    async def hear(self, message: Msg) -> None:
        tokens = message.subject.split(".")
        if tokens[1].endswith("-copies"):  # signs of life
            return
        match tokens:
            case ["moorage", "events", *_, kind]:
                self._bus["events", kind] += 1
            case ["moorage", _, stage, *_]:
                self._bus["messages", stage] += 1
            case [_, bucket, *_]:
                self._bus["writes", bucket] += 1

    def _state(self) -> Happened:
        found = Counter(self._bus)
        for form, count in self._tally:
            worker = form.agent.removeprefix(OURS)
            follows = form.verb == "watch" or (form.verb == "list" and worker in FOLLOWERS)
            if form.agent.startswith(OURS) and not follows:
                found["requests", f"{worker}: {form.verb} {form.resource} in the {form.where}"] += count
        return found

    async def during(self, act: Callable[[], Awaitable[object]]) -> Happened:
        """What happens while something is done, and until it is quiet again."""
        before = self._state()
        await act()
        await self.quiet()
        return self._state() - before

    async def quiet(self) -> None:
        """Wait until nothing happened for a while."""
        clock = asyncio.get_running_loop().time
        last, since = self._state(), clock()
        async with asyncio.timeout(PATIENCE):
            while clock() - since < QUIET:
                await asyncio.sleep(STEP)
                if (now := self._state()) != last:
                    last, since = now, clock()


@asynccontextmanager
async def metered(tally: Tally, url: str) -> AsyncIterator[Meter]:
    """A meter of a sandbox and a NATS within the block."""
    client = await nats.connect(url)
    try:
        meter = Meter(tally)
        for subject in (f"{PIPELINE}.>", f"{EVENTS_SUBJECT}.>", "$KV.>"):
            await client.subscribe(subject, cb=meter.hear)
        await client.flush()
        yield meter
    finally:
        await client.close()


def typical(runs: Sequence[Happened]) -> Counts:
    """The median of each count over several runs; what usually does not happen is left out."""
    found: Counts = {kind: {} for kind in KINDS}
    for kind, name in sorted(set().union(*runs)):
        if count := median_low([each[kind, name] for each in runs]):
            found[kind][name] = count
    return found
