"""A message about a placement that some worker gave up, as it lies among the dead letters. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from shared.broker.dead import CONSUMER_HEADER
from shared.broker.tokens import split
from shared.model.refs import Head, PlacementRef
from shared.pipeline.messages import MESSAGES, PIPELINE, Assigned, Bound, Decided, Observed, Reported, Withdrawn

PARKED_SUBJECT = f"moorage.dead.{PIPELINE.removeprefix('moorage.')}"
"""Below it lies what came from the pipeline, whichever worker parked it."""

AFTERWARDS = frozenset(kind.stage for kind in (Decided, Assigned, Bound, Observed, Reported, Withdrawn))
"""Stages after the decision: that the placement is applied everywhere says that one of these is mended."""

_STAGES = frozenset(kind.stage for kind in MESSAGES)
_CONSUMER = re.compile(r"[a-z]{1,40}-[a-z]{1,40}")


@dataclass(frozen=True, slots=True)
class Parked:
    """What was given up: about whom, of which head (None: that cannot be read), at which stage, and by whom."""

    placement: PlacementRef
    head: Head | None
    stage: str
    worker: str

    @property
    def reason(self) -> str:
        """One word for programs: `DiscoveredGivenUp`."""
        return f"{self.stage.capitalize()}GivenUp"

    @property
    def sentence(self) -> str:
        """For people. The cause is for the operator's eyes: it may speak of what the author may not see."""
        by = f"The {self.worker} worker" if self.worker else "A worker"
        return (
            f"{by} could not handle the message `{self.stage}` and gave it up, so this round does not go on. "
            "The operator finds the cause with `moorage dead list`; a change of the Placement begins another round."
        )


def parked_of(subject: str, headers: Mapping[str, str], payload: bytes) -> Parked | None:
    """What lies at that subject; None for what is about no placement.

    Where it lies says whom it is about: only a worker can park there, and what the payload says may be anybody's.
    """
    stage, _, rest = subject.removeprefix(f"{PARKED_SUBJECT}.").partition(".")
    try:
        workspace, namespace, name, *_ = split(rest)
    except ValueError:
        return None
    if stage not in _STAGES:
        return None
    ref = PlacementRef(workspace=workspace, namespace=namespace, name=name)
    consumer = headers.get(CONSUMER_HEADER, "")
    worker = consumer.partition("-")[0] if _CONSUMER.fullmatch(consumer) else ""
    return Parked(ref, _head(payload, ref), stage, worker)


class _Round(msgspec.Struct):
    placement: PlacementRef
    head: Head


class _About(msgspec.Struct):
    request: _Round | None = None
    placement: PlacementRef | None = None
    head: Head | None = None


_ABOUT = msgspec.json.Decoder(_About)


def _head(payload: bytes, ref: PlacementRef) -> Head | None:
    try:
        about = _ABOUT.decode(payload)
    except msgspec.DecodeError:
        return None
    placement, head = (about.request.placement, about.request.head) if about.request else (about.placement, about.head)
    return head if placement == ref else None
