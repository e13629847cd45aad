"""A round decided again from what is on record of it, and what came out otherwise."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from services.cli.offline.changes import places
from services.cli.offline.plane import Plane
from services.cli.offline.planner import Answer, Planner
from services.cli.planning.record import RecordedRound
from services.cli.support.decisions import Place
from shared.model.decision import Rejection

LEAST = 0.005
"""Points of a raw score (0 to 100) that are no difference: numbers are shown with two digits."""


class Difference(msgspec.Struct, frozen=True):
    """What is otherwise with one target: what was said of it then and what is said now, empty where nothing was.

    `what` is `allowed` (whether a stage rejects it, and why), or the name of a scorer (its raw score).
    """

    target: str
    what: str
    then: str
    now: str


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """A round, what it proposed then and what it proposes now. `decided`: what decision made of it, where that is not
    what was proposed, since others were faster."""

    placement: str
    attempt: int
    requested_at: float
    cause: str
    then: tuple[Place, ...]
    now: tuple[Place, ...]
    refused_then: str = ""
    refused_now: str = ""
    decided: tuple[Place, ...] | None = None
    differences: tuple[Difference, ...] = ()

    @property
    def same(self) -> bool:
        """Whether it comes to the same."""
        return self.then == self.now and bool(self.refused_then) == bool(self.refused_now)


async def again(plane: Plane, recorded: RecordedRound) -> Replayed:
    """Decide a round again on a plane, where its placement has nothing: with the request and the targets that
    discovery found then, by the policies, targets and room of the plane.

    Raises CommandError where rules cannot be evaluated at present.
    """
    request, then = recorded.scheduled.request, recorded.scheduled.proposal
    plane.hold(request.placement, request.labels, {})
    async with Planner(plane) as planner:
        answer = await planner.go_on(recorded.discovered, request.requested_at)
    now = answer.outcome.proposal
    decided = None if recorded.decided is None else places(recorded.decided.selected)
    proposed = places(then.selected)
    return Replayed(
        placement=request.placement.id.removeprefix("/"),
        attempt=request.head.attempt,
        requested_at=request.requested_at,
        cause=f"{request.cause.code}: {request.cause.detail}".removesuffix(": "),
        then=proposed,
        now=places(answer.selected),
        refused_then=then.refusal.message if then.refusal is not None else "",
        refused_now=now.refusal.message if now.refusal is not None else "",
        decided=None if decided == proposed else decided,
        differences=tuple(_differences(recorded, answer)),
    )


def _differences(recorded: RecordedRound, answer: Answer) -> Iterator[Difference]:
    """Who is allowed or not, of all targets; which scores are otherwise, of those that were or are proposed or next."""
    then, now = _reasons(recorded.scheduled.rejections), _reasons_of(answer)
    for target in sorted(then.keys() | now.keys()):
        before, after = then.get(target, "allowed"), now.get(target, "allowed")
        if before != after:
            yield Difference(target, "allowed", before, after)
    proposal = recorded.scheduled.proposal
    old = {each.target: each.breakdown for each in (*proposal.selected, *proposal.alternates)}
    new = {each.target: each.breakdown for each in answer.outcome.scores()}
    for target in sorted(old.keys() & new.keys()):
        for scorer in sorted(old[target].keys() | new[target].keys()):
            was, is_ = old[target].get(scorer), new[target].get(scorer)
            if was is None or is_ is None or abs(was.raw - is_.raw) > LEAST or was.weight != is_.weight:
                words = ("-" if each is None else f"{each.raw:.2f}×{each.weight:g}" for each in (was, is_))
                yield Difference(target, scorer, *words)


def _reasons(rejections: Iterable[Rejection]) -> Mapping[str, str]:
    """The first reason of each target that was rejected."""
    found: dict[str, str] = {}
    for each in rejections:
        for target in each.targets:
            found.setdefault(target, f"{each.reason}: {each.message}")
    return found


def _reasons_of(answer: Answer) -> Mapping[str, str]:
    stages = (*answer.earlier.values(), answer.outcome.rejections)
    return _reasons(one for each in stages for one in each)
