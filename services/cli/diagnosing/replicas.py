"""The copies of streams on the servers of a cluster: which are away or behind, and whether enough are left. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from services.cli.diagnosing.faults import FoundFault

NEARLY_FULL: Final = 0.85
"""Of what there is room for."""
NAMED: Final = 3  # streams that a message names; of more it says how many


class StreamCopies(msgspec.Struct, frozen=True, kw_only=True):
    """One stream, by the server that was asked: how many copies it is to have, and the servers of those that are away
    (with the seconds since it was heard of) or behind (with the operations that are missing there)."""

    name: str
    wanted: int
    led: bool
    away: Mapping[str, float] = {}
    behind: Mapping[str, int] = {}

    @property
    def goes_on(self) -> bool:
        """Whether most of its copies are there, and one of them leads."""
        return self.led and len(self.away) <= (self.wanted - 1) // 2


def copies_of(stream: Mapping[str, Any]) -> StreamCopies:
    """What JetStream's STREAM.LIST says of a stream; without a cluster its one copy is on the server that is asked."""
    cluster = stream.get("cluster") or {"leader": "itself"}
    others = cluster.get("replicas") or ()
    return StreamCopies(
        name=stream["config"]["name"],
        wanted=stream["config"]["num_replicas"],
        led=bool(cluster.get("leader")),
        away={each["name"]: each["active"] / 1e9 for each in others if each.get("offline")},
        behind={
            each["name"]: each.get("lag", 0) for each in others if not each.get("offline") and not each.get("current")
        },
    )


def silent(name: str) -> StreamCopies:
    """A stream of which no server told anything."""
    return StreamCopies(name=name, wanted=1, led=False)


def faults_of(before: Iterable[StreamCopies], now: Iterable[StreamCopies]) -> Iterator[FoundFault]:
    """What is wrong with copies by two looks, of which the second may be the same: a copy is behind, or nobody leads,
    for a moment whenever there is work."""
    earlier = {each.name: each for each in before}
    seen = [each for each in now if each.name in earlier]
    away: dict[str, dict[str, float]] = {}
    behind: dict[str, dict[str, int]] = {}
    for each in seen:
        for server, since in each.away.items():
            away.setdefault(server, {})[each.name] = since
        for server, lag in each.behind.items():
            if server in earlier[each.name].behind:
                behind.setdefault(server, {})[each.name] = lag
    if stopped := [each.name for each in seen if not each.goes_on and not earlier[each.name].goes_on]:
        message = f"too few copies are there, or none leads, of {_some(stopped)}: nothing is stored or delivered"
        yield FoundFault(fault="QuorumLost", where="JetStream", message=message)
    for server, found in away.items():
        message = f"it has copies of {_some(found)}, and was last heard of {max(found.values()):.0f} s ago"
        yield FoundFault(fault="ServerLost", where=f"server {server}", message=message)
    for server, lags in behind.items():
        message = f"its copies of {_some(lags)} are behind, by {max(lags.values())} operations at most"
        yield FoundFault(fault="ReplicaBehind", where=f"server {server}", message=message)


def is_full(used: float, most: float) -> bool:
    """Whether little is left of what is bounded; what has no bound (0 or less) is never full."""
    return most > 0 and used >= most * NEARLY_FULL


def full(where: str, used: float, most: float) -> Iterator[FoundFault]:
    """The fault, where it is one; both numbers are bytes."""
    if is_full(used, most):
        message = f"{used / (1 << 20):,.0f} of {most / (1 << 20):,.0f} MiB are used"
        yield FoundFault(fault="StorageNearlyFull", where=where, message=message)


def full_streams(streams: Iterable[Mapping[str, Any]]) -> Iterator[FoundFault]:
    """Those that take nothing more when they are full; others then drop what is oldest, as they are meant to."""
    for each in streams:
        config = each["config"]
        if config.get("discard") == "new":
            yield from full(f"stream {config['name']}", each["state"]["bytes"], config.get("max_bytes", -1))


def _some(names: Iterable[str]) -> str:
    """The first few of many streams."""
    found = sorted(names)
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return f"{', '.join(found[:NAMED])}{more}"
