"""What scales workers in a cluster, as pure functions: how KEDA reads a lag, and what an autoscaler makes of it.

Sources: KEDA's scaler `nats-jetstream` (pkg/scalers/nats_jetstream_scaler.go), and the algorithm of the
HorizontalPodAutoscaler for a metric with a target per pod (kubernetes.io, "Horizontal Pod Autoscaling").
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

TOLERANCE = 0.1
"""By how much the lag of a copy may differ from the threshold before anything is done."""

SYNC = 15.0
"""Seconds between two looks of the autoscaler."""

MORE, TIMES = 4, 2
"""In one look so many copies may be added, or so many times as many be there, whichever is more."""


class Scaling(msgspec.Struct, frozen=True):
    """How a worker is scaled: between how many copies, and at how many messages for each.

    `window`: for how many seconds a lag that is gone still counts.
    """

    least: int
    most: int
    threshold: int
    window: float


class Wanted(msgspec.Struct, frozen=True):
    """How many copies a look found to be right, and when that was, in seconds."""

    at: float
    copies: int


def path(account: str) -> str:
    """What KEDA asks NATS' monitoring port for."""
    return f"/jsz?acc={account}&consumers=true&config=true"


def lag(answer: Mapping[str, Any], account: str, stream: str, consumer: str) -> int | None:
    """How many messages wait or are in hand, as KEDA reads it; None where there is no such stream.

    Of a consumer that is not there KEDA takes all that ever came into the stream: consumers have to be made first.
    """
    accounts = [each for each in answer.get("account_details") or () if each["name"] == account]
    streams = [each for found in accounts for each in found.get("stream_detail") or () if each["name"] == stream]
    if not streams:
        return None
    for each in streams[0].get("consumer_detail") or ():
        if each["name"] == consumer:
            return int(each["num_pending"] + each["num_ack_pending"])
    return int(streams[0]["state"]["last_seq"])


def wanted(copies: int, threshold: int, lags: Iterable[int | None]) -> int:
    """How many copies the lags of all consumers together ask for: as many as the largest does.

    ceil(copies * (lag / copies) / threshold) for each, or as many as there are, within the tolerance. Where a lag is
    not known, not fewer than there are.
    """
    found = list(lags)
    asked = [_of_one(copies, threshold, each) for each in found if each is not None]
    return max([*asked, copies] if None in found or not found else asked)


def _of_one(copies: int, threshold: int, waiting: int) -> int:
    ratio = waiting / (threshold * copies) if copies else math.inf
    return copies if abs(ratio - 1) <= TOLERANCE else math.ceil(waiting / threshold)


def look(
    scaling: Scaling, copies: int, lags: Iterable[int | None], now: float, past: Sequence[Wanted]
) -> tuple[int, tuple[Wanted, ...]]:
    """How many copies there shall be after this look, and what the next one has to remember.

    More at once, as far as the pace allows; fewer only where nothing in the window asked for more.
    """
    asked = wanted(copies, scaling.threshold, lags)
    kept = tuple(each for each in past if now - each.at < scaling.window)
    stable = max(asked, min(copies, max((each.copies for each in kept), default=asked)))
    paced = min(stable, max(copies + MORE, copies * TIMES))
    return max(scaling.least, min(scaling.most, paced)), (*kept, Wanted(now, asked))
