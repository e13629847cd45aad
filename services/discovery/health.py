"""When a target counts as lost, and when as back: probes in, a judgement out."""

from typing import Literal

import msgspec

from shared.aio.backoff import backoff
from shared.model.target import Target

SMOOTHING = 0.3  # weight of the newest latency in the moving average
FLAP_WINDOW = 600.0  # seconds; what was lost more than once in this time must prove itself before it counts as back
LONGEST_HOLD = 300.0  # seconds that such a proof takes at most
_LOSSES_KEPT = 8

UNREACHABLE = "unreachable"
FLAPPING = "flapping"
NOT_PROBED = "not reached yet"


class Probe(msgspec.Struct, frozen=True):
    """The result of one probe of /readyz.

    `answered` has a latency in milliseconds, `refused` is a refused connection, `failed` anything else that is no
    answer or says that the server is not well. `unusable` means that the probe could not be made for a reason of our
    own or of the credentials, named in a few words by `problem`: it says nothing about the server.
    """

    outcome: Literal["answered", "refused", "failed", "unusable"]
    latency: float = 0.0
    problem: str = ""
    detail: str = ""


class Rules(msgspec.Struct, frozen=True):
    """Seconds of failure, or refused connections in a row, after which a target is lost."""

    lost_after: float
    refused_limit: int


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The health of one target, by all its probes. Times are in seconds since the epoch, 0 is never."""

    judged_at: float = 0.0  # the last probe
    answered_at: float = 0.0  # the last good probe
    failing_since: float = 0.0
    refused: int = 0  # in a row
    latency: float = 0.0  # moving average, milliseconds
    steady: float = 0.0  # the latency that is told; the average, but for small moves
    moved: bool = False  # whether `steady` is news since the last probe
    lost_since: float = 0.0
    back_since: float = 0.0  # first good probe of a target that is still held to be lost
    losses: tuple[float, ...] = ()
    problem: str = ""
    detail: str = ""

    @property
    def undecided(self) -> bool:
        """True while nothing can be said: nothing answered, or what fails just now may still be back in time."""
        return not (self.lost_since or self.problem) and (not self.answered_at or self.failing_since > 0)

    @property
    def reason(self) -> str:
        """Why the target cannot be used, in a few words; empty when it can."""
        if self.lost_since:
            return FLAPPING if self.back_since else UNREACHABLE
        if self.problem:
            return self.problem
        return "" if self.answered_at else NOT_PROBED


def assess(entry: Target, health: Health, lost_after: float) -> Target:
    """The entry with what this copy of the worker thinks of the target; whether it is otherwise fit is not asked here.

    A copy may be cut off from a target that other copies reach, and all must not leave that target for it. So nobody
    writes `lost_since` alone: who has lost a target first writes a doubt, `doubted_at`. Whoever gets an answer after
    that takes the doubt back and writes when that was, `answered_at`; a copy that sees the doubt looks at once. A doubt
    that nobody took back for an eighth of `lost_after` makes the target lost, from that moment on and not from an
    earlier one. After an answer was written nobody may doubt for `lost_after`. So a target that is well costs no
    writes, and one that a copy cannot reach costs two per `lost_after` and is not lost while another copy reaches it.
    """
    now = health.judged_at
    if health.problem and not health.lost_since:  # it says nothing about the server
        return msgspec.structs.replace(entry, ready=False, reason=health.reason)
    if entry.doubted_at and not health.failing_since and health.answered_at > entry.doubted_at:
        entry = msgspec.structs.replace(entry, doubted_at=0.0, answered_at=health.answered_at)
    if not health.lost_since:
        news = entry.lost_since > 0  # another copy may be cut off from it still
        return msgspec.structs.replace(
            entry,
            ready=not health.reason,
            reason=health.reason,
            lost_since=0.0,
            answered_at=health.answered_at if news else entry.answered_at,
        )
    if entry.lost_since:
        return msgspec.structs.replace(entry, ready=False, reason=health.reason)
    if health.back_since or now - entry.answered_at < lost_after:
        return entry
    if not entry.doubted_at:
        return msgspec.structs.replace(entry, doubted_at=now)
    if now - entry.doubted_at < lost_after / 8:
        return entry
    return msgspec.structs.replace(entry, ready=False, reason=health.reason, lost_since=now, doubted_at=0.0)


def resume(entry: Target | None, now: float) -> Health:
    """Where the inventory stands when a process begins: a lost target stays lost, a ready one has its full grace."""
    if entry is None:
        return Health()
    if entry.lost_since:
        return Health(lost_since=entry.lost_since, failing_since=entry.lost_since, losses=(entry.lost_since,))
    return Health(answered_at=now) if entry.ready else Health()


def observe(health: Health, probe: Probe, now: float, rules: Rules) -> Health:
    """Health after one more probe at `now`."""
    health = msgspec.structs.replace(health, judged_at=now, moved=False)
    match probe.outcome:
        case "answered":
            return _good(health, probe, now, rules)
        case "unusable":
            return msgspec.structs.replace(health, problem=probe.problem, detail=probe.detail)
        case "refused" | "failed":
            return _bad(health, probe, now, rules)


def _good(health: Health, probe: Probe, now: float, rules: Rules) -> Health:
    average = health.latency + SMOOTHING * (probe.latency - health.latency) if health.latency else probe.latency
    steady = steady_latency(health.steady, average)
    good = msgspec.structs.replace(
        health,
        answered_at=now,
        failing_since=0.0,
        refused=0,
        latency=average,
        steady=steady,
        moved=steady != health.steady,
        problem="",
        detail="",
    )
    if not health.lost_since:
        return good
    back_since = health.back_since or now
    if now - back_since < hold(health.losses, now, rules):
        return msgspec.structs.replace(good, back_since=back_since)
    return msgspec.structs.replace(good, lost_since=0.0, back_since=0.0)


def _bad(health: Health, probe: Probe, now: float, rules: Rules) -> Health:
    since = health.failing_since or now
    refused = health.refused + 1 if probe.outcome == "refused" else 0
    bad = msgspec.structs.replace(
        health, failing_since=since, refused=refused, back_since=0.0, problem="", detail=probe.detail
    )
    if health.lost_since or (now - since < rules.lost_after and refused < rules.refused_limit):
        return bad
    return msgspec.structs.replace(bad, lost_since=since, losses=(*health.losses, now)[-_LOSSES_KEPT:])


def hold(losses: tuple[float, ...], now: float, rules: Rules) -> float:
    """Seconds that a target must answer before it is back: none after one loss, then twice as long with each more."""
    recent = sum(now - loss <= FLAP_WINDOW for loss in losses)
    return backoff(recent - 1, first=rules.lost_after, most=LONGEST_HOLD) if recent > 1 else 0.0


def steady_latency(previous: float, measured: float) -> float:
    """A latency to tell, in whole milliseconds: the previous (0: none) unless it is off by over 5 ms and a quarter."""
    if previous and abs(measured - previous) <= max(5.0, previous / 4):
        return previous
    return float(max(1, round(measured)))
