"""PolicyTests on paper: read from files, and run by the policy stage's own code."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec

from services.cli.offline.expectations import Coverage, failures, is_rule, shown
from services.cli.offline.labelled import unknown
from services.cli.offline.objects import Manifest, unique
from services.cli.offline.plane import plane_of, target_from
from services.cli.offline.requests import request_from
from services.cli.support.manifests import InvalidManifest, of_kind, read, where
from services.policy.cel import admission
from services.policy.core import INLINE
from services.policy.preview import Assessment, Tested, Trials, example_request
from shared.api.policytest import TEST_API_VERSION, ExpectedResult, PolicyCase, PolicyTest
from shared.model.policy import PolicyEntry
from shared.model.refs import PlacementRef, PolicyRef
from shared.model.request import Request, Requester
from shared.model.target import Target


@dataclass(frozen=True)
class Ground:
    """What rules are tried on: targets, policies, and requests by the name of their Placement.

    Without any Placement every policy holds everywhere, and so for the example that stands for one.
    """

    targets: dict[str, Target]
    policies: tuple[PolicyEntry, ...]
    requests: dict[PlacementRef, Request]

    def unknown(self) -> list[str]:
        """Whose labels policies go by, and are not in the files."""
        return unknown(self.requests.values(), self.policies)

    def findings(self) -> Iterator[tuple[str, bool]]:
        """What is wrong with rules and what is doubtful, as admission says it, and whether it is a warning only."""
        for entry in self.policies:
            for finding in admission.examine(entry.spec.rules, admission.definitions_of(entry.spec)):
                yield f"{shown(PolicyRef.of(entry).id)}: {finding}", finding.warning
        for ref, request in self.requests.items():
            for finding in admission.examine(request.spec.policies):
                yield f"{shown(ref.id)}: {finding}", finding.warning


def ground(
    targets: Iterable[Target], policies: Iterable[Manifest], placements: Iterable[Manifest], now: float
) -> Ground:
    """What some manifests hold. Raises `InvalidManifest`, also for a Placement that could not be placed as it is."""
    placements = list(placements)
    plane = plane_of((), placements, policies, ())
    requests = {}
    for manifest in of_kind(placements, "Placement"):
        request = request_from(plane, manifest, now)
        if request.error:
            raise InvalidManifest(f"{where(manifest)}: {request.error}")
        requests[request.placement] = request
    entries = plane.policies if requests else tuple(map(_everywhere, plane.policies))
    return Ground({each.id: each for each in targets}, entries, requests)


def _everywhere(policy: PolicyEntry) -> PolicyEntry:
    """The policy as if it held for every Placement."""
    spec = msgspec.structs.replace(policy.spec, match=None, placement_selector=None)
    return msgspec.structs.replace(policy, workspace="", spec=spec)


def asked_by(request: Request, user: str | None, groups: Sequence[str]) -> Request:
    """The request as somebody else asks for it, where one is given."""
    if user is None and not groups:
        return request
    return msgspec.structs.replace(request, requester=Requester(username=user or "", groups=tuple(groups)))


def moment(text: str) -> float:
    """Seconds since the epoch of a time as RFC 3339 writes it. Raises ValueError."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text} does not say in which time zone: end it in Z")
    return found.timestamp()


# --- tests --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Suite:
    """A PolicyTest with all that it names."""

    test: PolicyTest
    where: str
    ground: Ground


@dataclass
class CaseResult:
    """A case that was run; without failures it passed."""

    test: str
    case: str
    failures: list[str] = field(default_factory=list)


def is_test(manifest: Manifest) -> bool:
    """True for a PolicyTest."""
    return manifest.get("kind") == "PolicyTest" and str(manifest.get("apiVersion", "")).startswith(_GROUP)


_GROUP = f"{TEST_API_VERSION.partition('/')[0]}/"
"""A test of a version that nobody knows is refused, and not passed over: it would count as passed."""


def test_files(paths: Iterable[str]) -> Iterator[str]:
    """The files that are named; of folders, those below them that have a PolicyTest. Raises `InvalidManifest`."""
    for path in paths:
        if not Path(path).is_dir():
            yield path
            continue
        inside = (each for end in ("yaml", "yml", "json") for each in Path(path).rglob(f"*.{end}"))
        found = [str(each) for each in sorted(inside) if _GROUP in each.read_text(errors="replace")]
        if not found:
            raise InvalidManifest(f"{path}: there is no PolicyTest below it")
        yield from found


def suites(path: str, manifests: Sequence[Manifest], now: float) -> Iterator[Suite]:
    """The PolicyTests in a file that was read. Raises `InvalidManifest`."""
    beside = [each for each in manifests if not is_test(each)]
    folder = Path() if path == "-" else Path(path).parent
    for manifest in filter(is_test, manifests):
        try:
            test = msgspec.convert(dict(manifest), PolicyTest)
        except msgspec.ValidationError as error:
            raise InvalidManifest(f"{where(manifest)}: PolicyTest: {error}") from None
        files = {
            name: [*beside, *(each for file in getattr(test, name) for each in read(str(folder / file)))]
            for name in ("policies", "targets", "placements")
        }
        targets = [target_from(each) for each in unique(of_kind(files["targets"], "SyncTarget"))]
        here = ground(targets, files["policies"], files["placements"], now)
        if not targets:
            raise InvalidManifest(f"{where(manifest)}: there is no SyncTarget in it, nor in the files under targets")
        if not here.policies and not any(each.spec.policies for each in here.requests.values()):
            raise InvalidManifest(f"{where(manifest)}: there is no PlacementPolicy in it, nor in those under policies")
        yield Suite(test, where(manifest), here)


async def run(
    suite: Suite, coverage: Coverage, now: float, user: str | None = None, groups: Sequence[str] = ()
) -> list[CaseResult]:
    """Run all cases; `now`, `user` and `groups` hold for cases that do not say them.

    Raises `InvalidManifest` for what is not in the files, before any case is run.
    """
    here = suite.ground
    for entry in here.policies:
        for rule in entry.spec.rules:
            coverage.know(PolicyRef.of(entry).id, rule.name)
    planned = [
        (case, _placement(suite, case), _time(suite, case, now), [_targets(suite, each) for each in case.results])
        for case in suite.test.cases
    ]
    for case in suite.test.cases:
        _known_rules(suite, case)
    results = []
    async with Trials(here.targets.values()) as trials:
        for case, request, at, targets in planned:
            asker = (user, groups) if case.user is None and not case.groups else (case.user, case.groups)
            assessments = await trials.assess(asked_by(request, *asker), sorted(here.targets), here.policies, at)
            coverage.add(assessments)
            results.append(CaseResult(suite.test.metadata.name, case.name, _compared(case, targets, assessments)))
    return results


def _compared(case: PolicyCase, targets: Sequence[Sequence[str]], assessments: Sequence[Assessment]) -> list[str]:
    by_target = {each.target: each for each in assessments}
    return [
        f"{shown(target)}: {failure}"
        for expected, meant in zip(case.results, targets, strict=True)
        for target in meant
        for failure in failures(expected, by_target[target])
    ]


def _placement(suite: Suite, case: PolicyCase) -> Request:
    """The request of the Placement that a case is about."""
    requests = suite.ground.requests
    if not requests and not case.placement:
        return example_request()
    names = case.placement.split("/") if case.placement else []
    found = [each for ref, each in requests.items() if ref.id.split("/")[3 - len(names) :] == names or not names]
    if len(found) != 1:
        said = (
            f"{len(found)} Placements that {case.placement!r} could mean"
            if found
            else f"no Placement {case.placement!r}"
        )
        raise InvalidManifest(f"{suite.where}: case {case.name!r}: there {'are' if found else 'is'} {said}")
    return found[0]


def _targets(suite: Suite, expected: ExpectedResult) -> list[str]:
    """The ids of the targets that are meant."""
    known = suite.ground.targets
    if not expected.targets:
        return sorted(known)
    meant = []
    for name in expected.targets:
        found = [target for target, each in known.items() if name in (each.name, shown(target))]
        if not found:
            raise InvalidManifest(f"{suite.where}: there is no target {name!r}")
        meant += found
    return meant


def _time(suite: Suite, case: PolicyCase, now: float) -> float:
    if case.now is None:
        return now
    try:
        return moment(case.now)
    except ValueError as error:
        raise InvalidManifest(f"{suite.where}: case {case.name!r}: now: {error}") from None


def _known_rules(suite: Suite, case: PolicyCase) -> None:
    rules = [
        Tested("", PolicyRef.of(entry).id, rule.name, rule.effect, "-")
        for entry in suite.ground.policies
        for rule in entry.spec.rules
    ]
    rules += [
        Tested("", INLINE, rule.name, rule.effect, "-")
        for request in suite.ground.requests.values()
        for rule in request.spec.policies
    ]
    for name in (name for each in case.results for name in (each.rule, *each.outcomes) if name):
        if not any(is_rule(each, name) for each in rules):
            raise InvalidManifest(f"{suite.where}: case {case.name!r}: there is no rule {name!r}")
