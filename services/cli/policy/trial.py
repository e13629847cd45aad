"""`moorage policy test`: what rules say of targets, and whether that is what their author expects."""

import argparse
import json
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from services.cli.support.errors import UsageError
from services.cli.support.output import aligned, note
from services.cli.support.settings import add_settings

if TYPE_CHECKING:
    from services.cli.offline.expectations import Coverage
    from services.cli.offline.suites import CaseResult, Ground, Suite
    from services.policy.preview import Assessment
    from shared.model.target import Target

DESCRIPTION = """\
Test rules on targets, with no server, as the policy worker evaluates them.

  moorage policy test tests/                                     every PolicyTest below a folder
  moorage policy test residency.test.yaml --require-coverage
  moorage policy test policy.yaml --targets clusters.yaml        what each rule says, with nothing expected
  moorage policy test policy.yaml --targets live --placement cart.yaml --user petra --now 2026-12-24T20:00:00Z

A PolicyTest names files (relative to its own) and says what must come out, case by case:

  apiVersion: test.moorage.io/v1alpha1
  kind: PolicyTest
  metadata: {name: residency}
  policies: [residency.yaml]
  targets: [clusters.yaml]
  placements: [placements.yaml]          # and the objects that they select
  cases:
  - name: what must stay in Europe does
    placement: orders                    # optional, like user, groups and now
    results:
    - {targets: [eu-1, eu-2], result: Kept, score: 60}
    - {targets: [us-1], result: Rejected, rule: in-the-eu, message: European law}
    - {targets: [unlabelled], error: no such key}
    - {outcomes: {on-trial: true}}       # of all targets; also of rules that are DryRun

A rule that fails on a target fails the case, unless that error is expected. Targets that no result names may be judged
in any way. After the cases come the rules that no case saw true, or false, or that were always an error.
docs/policy-tests.md shows all of it in CI; docs/reference/policytest.json is the JSON Schema.

Where policies go by labels of namespaces or workspaces, put these Namespaces and Workspaces among the files: else such
policies count as if they held.

Exit codes: 0 all is as expected (with nothing expected: every rule gave an answer); 1 it is not, a rule is invalid, or,
with --require-coverage, no case shows a rule both true and false; 2 a file or the command line cannot be used.
"""
LIVE = "live"


def add_action(actions: Any) -> argparse.ArgumentParser:
    """Declare the action."""
    parser: argparse.ArgumentParser = actions.add_parser(
        "test",
        help="run PolicyTests, or see what rules say of targets",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "file",
        nargs="+",
        metavar="FILE",
        help="PolicyTests, folders with such, or PlacementPolicies; - is standard input",
    )
    parser.add_argument("--targets", metavar="FILE|live", help="for policies: SyncTargets, or the live inventory")
    parser.add_argument(
        "--placement",
        action="append",
        default=[],
        metavar="FILE",
        help="for policies: Placements, and the objects that they select; without, an example that they all hold for",
    )
    parser.add_argument("--now", metavar="TIME", help="when the rules are evaluated, as in 2026-12-24T20:00:00Z")
    parser.add_argument("--user", help="request.user, for cases that say no other")
    parser.add_argument("--group", action="append", default=[], help="one of request.groups; may be repeated")
    parser.add_argument("--require-coverage", action="store_true", help="every rule must be seen true and false")
    add_settings(parser, "NatsSettings")
    return parser


def act(args: argparse.Namespace) -> int:
    """Test; 1 when something is not as expected. Raises `InvalidManifest`, `Unavailable`."""
    from services.cli.offline.suites import is_test, moment, suites, test_files
    from services.cli.support.manifests import read

    try:
        now = time.time() if args.now is None else moment(args.now)
    except ValueError as error:
        raise UsageError(f"--now: {error}") from None
    files = {path: read(path) for path in dict.fromkeys(test_files(args.file))}
    if not any(is_test(each) for manifests in files.values() for each in manifests):
        return _outcomes(args, [each for manifests in files.values() for each in manifests], now)
    if args.targets or args.placement:
        raise UsageError("a PolicyTest names its own targets and placements: leave out --targets and --placement")
    for path, manifests in files.items():
        if not any(map(is_test, manifests)):
            raise UsageError(f"{path}: there is no PolicyTest in it, and other files have some")
    return _cases(args, [each for path, found in files.items() for each in suites(path, found, now)], now)


def _invalid(grounds: "Iterable[Ground]", output: str, empty: str) -> bool:
    """True if rules are invalid; they are named, and what was asked for is written as empty as it is.

    What is doubtful only is told as a warning.
    """
    grounds = list(grounds)
    for sentence in dict.fromkeys(each for ground in grounds for each in ground.unknown()):
        note(sentence)
    found = dict.fromkeys(each for ground in grounds for each in ground.findings())
    for finding, warning in found:
        sys.stderr.write(f"{finding}\n") if not warning else note(f"warning: {finding}")
    invalid = not all(warning for _, warning in found)
    if invalid and output == "json":
        _write(empty)
    return invalid


# --- expectations -------------------------------------------------------------------------------------------------


def _cases(args: argparse.Namespace, suites: "list[Suite]", now: float) -> int:
    import asyncio
    from dataclasses import asdict

    from services.cli.offline.expectations import Coverage
    from services.cli.offline.suites import run

    if _invalid((each.ground for each in suites), args.output, '{"cases": [], "coverage": []}'):
        return 1
    coverage = Coverage()

    async def run_all() -> "list[CaseResult]":
        return [each for suite in suites for each in await run(suite, coverage, now, args.user, args.group)]

    results = asyncio.run(run_all())
    failed = sum(bool(each.failures) for each in results)
    lacking = [each for each in coverage.rules() if each.lacking]
    if args.output == "json":
        cases = [{**asdict(each), "passed": not each.failures} for each in results]
        rules = [{**asdict(each), "lacking": each.lacking} for each in coverage.rules()]
        _write(json.dumps({"cases": cases, "coverage": rules}))
    else:
        _write("\n".join(_report(results, coverage, failed)))
    return int(bool(failed or (args.require_coverage and lacking)))


def _report(results: "list[CaseResult]", coverage: "Coverage", failed: int) -> Iterable[str]:
    name = None
    for each in results:
        if each.test != name:
            name = each.test
            yield name
        yield f"  {'FAIL' if each.failures else 'ok'}  {each.case}"
        yield from (f"        {failure}" for failure in each.failures)
    yield from ("", f"{len(results) - failed} passed, {failed} failed")
    lacking = [(each.policy, each.rule, each.lacking) for each in coverage.rules() if each.lacking]
    if lacking:
        yield from ("", *aligned([("POLICY", "RULE", "NOT COVERED"), *lacking]))


# --- outcomes -----------------------------------------------------------------------------------------------------


def _outcomes(args: argparse.Namespace, manifests: list[Any], now: float) -> int:
    """What every rule says of every target, for each Placement."""
    import asyncio
    from dataclasses import asdict

    from services.cli.offline.expectations import shown
    from services.cli.offline.planner import OUTCOMES
    from services.cli.offline.suites import ground
    from services.cli.support.manifests import of_kind, read
    from shared.model.policy import EXEMPT

    if args.require_coverage:
        raise UsageError("coverage is that of cases, and there is no PolicyTest")
    placements = [each for path in dict.fromkeys(args.placement) for each in read(path)]
    if args.placement and not of_kind(placements, "Placement"):
        raise UsageError(f"{', '.join(args.placement)}: there is no Placement in it")
    found = {id(each): each for each in (*manifests, *placements)}.values()
    here = ground(_live(args) if args.targets == LIVE else _targets(args, manifests), manifests, found, now)
    if not here.policies and not any(each.spec.policies for each in here.requests.values()):
        raise UsageError(f"{', '.join(args.file)}: there is no PlacementPolicy, and no Placement with rules, in it")
    if _invalid((here,), args.output, "[]"):
        return 1
    judged = asyncio.run(_judged(here, args, now))
    tested = [
        (placement, each) for placement, assessments in judged for assessed in assessments for each in assessed.rules
    ]
    for placement, assessments in judged:
        if assessments and not assessments[0].rules:
            note(f"no policy holds for {placement or 'the example'}")
    if args.output == "json":
        rows = [
            {"placement": placement, **asdict(each), "policy": shown(each.policy), "outcome": OUTCOMES[each.outcome]}
            for placement, each in tested
        ]
        _write(json.dumps(rows))
    else:
        names = ("PLACEMENT", "TARGET", "POLICY", "RULE", "EFFECT", "OUTCOME", "ERROR")
        lines = [
            (
                placement,
                shown(each.target),
                shown(each.policy),
                each.rule,
                each.effect,
                OUTCOMES[each.outcome] + (EXEMPT + each.exemption if each.exemption else ""),
                each.error,
            )
            for placement, each in tested
        ]
        skipped = int(len(judged) == 1)  # the column that would say the same everywhere
        _write("\n".join(aligned([each[skipped:] for each in (names, *lines)])))
    return int(any(each.outcome == "e" for _, each in tested))


async def _judged(here: "Ground", args: argparse.Namespace, now: float) -> "list[tuple[str, list[Assessment]]]":
    from services.cli.offline.expectations import shown
    from services.cli.offline.suites import asked_by
    from services.policy.preview import Trials, example_request

    requests = {shown(ref.id): each for ref, each in here.requests.items()} or {"": example_request()}
    async with Trials(here.targets.values()) as trials:
        return [
            (
                name,
                await trials.assess(asked_by(each, args.user, args.group), sorted(here.targets), here.policies, now),
            )
            for name, each in requests.items()
        ]


def _targets(args: argparse.Namespace, manifests: list[Any]) -> "list[Target]":
    from services.cli.offline.objects import unique
    from services.cli.offline.plane import target_from
    from services.cli.support.manifests import of_kind, read

    found = read(args.targets) if args.targets else manifests
    targets = [target_from(each) for each in unique(of_kind(found, "SyncTarget"))]
    if not targets:
        raise UsageError(f"{args.targets or ', '.join(args.file)}: there is no SyncTarget in it")
    return targets


def _live(args: argparse.Namespace) -> "list[Target]":
    import asyncio

    from services.cli.support.broker import broker, settings_of
    from shared.broker.table import Table
    from shared.pipeline.buckets import INVENTORY
    from shared.process.settings import NatsSettings

    async def read_inventory() -> "list[Target]":
        async with broker(settings_of(args, NatsSettings)) as (_, store):
            return [entry.value for entry in await Table(store, INVENTORY).entries()]

    return asyncio.run(read_inventory())


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
