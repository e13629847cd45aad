"""`moorage policy`: check rules as admission does, and try them on targets, so that they can be tested in CI."""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from services.cli.support.errors import CommandError, UsageError

if TYPE_CHECKING:
    from services.policy.cel.admission import Finding
    from services.policy.core import InForce
    from services.policy.preview import Planned, Tested
    from shared.model.target import Target

CHECK = """\
Parse, lint and type-check every expression of the PlacementPolicies and Placements in a file, as admission does.

Exit codes: 0 all is well, 1 there are findings, 2 the file or the command line cannot be used.
"""
TEST = """\
Evaluate every rule on targets: SyncTargets in a file, or the live inventory. A Placement in the policy's file (or in
--placement) is what `placement` and `workload` stand for; without one, an example is.

Exit codes: 0 every rule gave an answer, 1 a rule is invalid or failed on a target (or NATS does not answer, or no
process can be started to evaluate in), 2 a file or the command line cannot be used.
"""
OUTCOMES = {"t": "true", "f": "false", "e": "error", "-": "not covered"}
LIVE = "live"


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    from shared.process.settings import NatsSettings, add_arguments

    parser = subparsers.add_parser("policy", help="check rules, and try them on targets")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    shape = argparse.RawDescriptionHelpFormatter
    check = actions.add_parser("check", help="what admission says", description=CHECK, formatter_class=shape)
    check.add_argument("file", metavar="FILE", help="YAML or JSON, several documents; - is standard input")
    check.add_argument("--plan", action="store_true", help="show how each rule is evaluated, and why so")
    test = actions.add_parser("test", help="evaluate rules on targets", description=TEST, formatter_class=shape)
    test.add_argument("file", metavar="FILE", help="PlacementPolicies")
    test.add_argument("--targets", required=True, metavar="FILE|live", help="SyncTargets, or the live inventory")
    test.add_argument("--placement", metavar="FILE", help="a Placement, and the objects that it selects")
    add_arguments(test, NatsSettings)
    for action, function in ((check, _check), (test, _test)):
        action.add_argument("-o", "--output", choices=("table", "json"), default="table", help="default: table")
        action.set_defaults(run=run, act=function)


def run(args: argparse.Namespace) -> int:
    """Check or test; the exit code is 1 when a rule is not well.

    Raises UsageError for a file that cannot be used, CommandError where rules cannot be evaluated at present.
    """
    from services.cli.support.manifests import InvalidManifest
    from services.policy.cel.isolation import Unavailable

    try:
        code: int = args.act(args)
    except InvalidManifest as error:
        raise UsageError(str(error)) from None
    except Unavailable as error:
        raise CommandError(str(error)) from None
    return code


def _check(args: argparse.Namespace) -> int:
    from services.policy import preview
    from services.policy.cel import admission

    found: list[tuple[str, Finding]] = []
    planned: list[tuple[str, Planned]] = []
    for policy in _policies(args.file):
        findings = admission.check_rules(policy.rules, policy.definitions)
        found += [(policy.id, each) for each in findings]
        if args.plan and not findings:
            planned += [(policy.id, each) for each in asyncio.run(preview.plan(policy))]
    if args.output == "json":
        findings_json = [{"policy": policy, "where": each.where, **asdict(each.diagnostic)} for policy, each in found]
        plan_json = [{"policy": policy, **asdict(each)} for policy, each in planned]
        _write(json.dumps({"findings": findings_json, "plan": plan_json}))
        return int(bool(found))
    for name, finding in found:
        _write(f"{name}: {finding}")
    if planned:
        rows = [("POLICY", "RULE", "METHOD", "READS", "WHY")]
        _table(
            [*rows, *((policy, each.rule, each.method, ", ".join(each.reads), each.why) for policy, each in planned)]
        )
    if not found and not planned:
        _write("no findings")
    return int(bool(found))


def _test(args: argparse.Namespace) -> int:
    from services.policy import preview
    from services.policy.cel import admission

    now = time.time()
    targets = _live(args) if args.targets == LIVE else _targets(args.targets)
    request = _request(args.placement, now) if args.placement else preview.example_request()
    tested: list[tuple[str, Tested]] = []
    for policy in _policies(args.file):
        findings = admission.check_rules(policy.rules, policy.definitions)
        if findings:
            for finding in findings:
                sys.stderr.write(f"{policy.id}: {finding}\n")
            if args.output == "json":
                _write("[]")
            return 1
        tested += [(policy.id, each) for each in asyncio.run(preview.run(policy, targets, request, now))]
    if args.output == "json":
        _write(
            json.dumps(
                [{"policy": policy, **asdict(each), "outcome": OUTCOMES[each.outcome]} for policy, each in tested]
            )
        )
    else:
        rows = [("TARGET", "POLICY", "RULE", "EFFECT", "OUTCOME", "ERROR")]
        rows += [
            (each.target.removeprefix("/"), name, each.rule, each.effect, OUTCOMES[each.outcome], each.error)
            for name, each in tested
        ]
        _table(rows)
    return int(any(each.outcome == "e" for _, each in tested))


def _policies(path: str) -> "Iterator[InForce]":
    """The policies of a file, and the Placements' own rules."""
    from services.cli.offline.objects import decoded, workspace_of
    from services.cli.support.manifests import of_kind, read
    from services.policy.core import InForce, from_spec
    from shared.api import decode_placement, decode_policy

    manifests = read(path)
    policies = [
        from_spec(policy.metadata.name, workspace_of(each), policy.spec)
        for each in of_kind(manifests, "PlacementPolicy")
        for policy in (decoded(decode_policy, each),)
    ]
    policies += [
        InForce(f"placement {placement.metadata.name}", workspace_of(each), placement.spec.policies)
        for each in of_kind(manifests, "Placement")
        for placement in (decoded(decode_placement, each),)
        if placement.spec.policies
    ]
    if not policies:
        raise UsageError(f"{path}: there is no PlacementPolicy, and no Placement with rules, in it")
    yield from policies


def _targets(path: str) -> "list[Target]":
    from services.cli.offline.plane import target_from
    from services.cli.support.manifests import of_kind, read

    targets = [target_from(each) for each in of_kind(read(path), "SyncTarget")]
    if not targets:
        raise UsageError(f"{path}: there is no SyncTarget in it")
    return targets


def _request(path: str, now: float) -> Any:
    from services.cli.offline.plane import plane_of
    from services.cli.offline.requests import request_from
    from services.cli.support.manifests import of_kind, read

    manifests = read(path)
    placements = of_kind(manifests, "Placement")
    if not placements:
        raise UsageError(f"{path}: there is no Placement in it")
    request = request_from(plane_of((), manifests, (), ()), placements[0], now)
    if request.error:
        raise UsageError(f"{path}: {request.error}")
    return request


def _live(args: argparse.Namespace) -> "list[Target]":
    from services.cli.support.broker import broker, settings_of
    from shared.broker.table import Table
    from shared.pipeline.buckets import INVENTORY
    from shared.process.settings import NatsSettings

    async def read_inventory() -> "list[Target]":
        async with broker(settings_of(args, NatsSettings)) as (_, store):
            return [entry.value for entry in await Table(store, INVENTORY).entries()]

    return asyncio.run(read_inventory())


def _table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        _write("  ".join(map(str.ljust, row, widths)).rstrip())


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
