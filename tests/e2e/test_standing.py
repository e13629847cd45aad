"""What is written for benchmarks of many placements is what the workers would have left."""

import re
from typing import Any

import msgspec

from shared.hub.names import TRACE_ANNOTATION
from tests.support import worlds
from tests.support.standing import Left, copied, left_by, worked_out
from tests.support.together import together

OF_ITS_OWN = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"  # uids
    r"|\d{4}-\d\d-\d\dT[0-9:.]+Z"  # times
    r"|(?<=\.)[0-9a-f]{16}$"  # the ends of names of Events
    r"|(?<=T )[0-9a-zA-Z._-]+|(?<=Z )[0-9a-f]+"  # leases
)
MOVES = {
    "resourceVersion",
    "version",
    "requestedAt",
    "reservedAt",
    "observedAt",
    "durationMilliseconds",
    "traceId",
    TRACE_ANNOTATION,
    "traceparent",
}
"""What says when, after what else and in which trace something was written."""
RANKED = {"score", "raw", "weighted", "breakdown", "scores"}
"""What depends on how much room was left."""


def comparable(left: Left) -> Any:
    """What a placement left, without ids, times and scores."""
    return _plain(msgspec.json.decode(msgspec.json.encode(left)))


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {OF_ITS_OWN.sub("", key): _plain(each) for key, each in value.items() if key not in MOVES | RANKED}
        case list():
            return [_plain(each) for each in value]
        case str():
            return OF_ITS_OWN.sub("", value)
    return value


async def test_what_is_written_for_a_placement_is_what_the_workers_leave_of_it(tmp_path):
    async with together(tmp_path, worlds.world(1)) as system:

        async def left(name: str) -> Left:
            await system.place(name, worlds.deployment(name))
            await system.reaches(name, "Ready")
            return await left_by(name, system.user, system.targets, system.store)

        await left("warm")
        first, second = await left("first-one"), await left("second-one")
        made = copied(first, "second-one")
        assert comparable(made) == comparable(second)
        assert worked_out(made) == worked_out(second)
