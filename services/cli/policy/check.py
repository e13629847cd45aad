"""`moorage policy check`: what admission says of rules."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from services.cli.support.errors import UsageError
from services.cli.support.files import read_all
from services.cli.support.output import aligned

if TYPE_CHECKING:
    from services.policy.cel.admission import Finding
    from services.policy.core import InForce
    from services.policy.preview import Planned

DESCRIPTION = """\
Parse, lint and type-check every expression of the PlacementPolicies and Placements in files, as admission does.

A warning is of what is valid and hardly meant: a Kubernetes version that is compared as a text.

Exit codes: 0 all is well, or there are warnings alone; 1 there are findings; 2 the file or the command line cannot be
used.
"""


def add_action(actions: Any) -> argparse.ArgumentParser:
    """Declare the action."""
    parser: argparse.ArgumentParser = actions.add_parser(
        "check",
        help="what admission says",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "file", metavar="FILE", nargs="+", help="YAML or JSON, or a folder with such files; - is standard input"
    )
    parser.add_argument("--plan", action="store_true", help="show how each rule is evaluated, and why so")
    return parser


def act(args: argparse.Namespace) -> int:
    """Check; 1 when there are findings. Raises `InvalidManifest`."""
    import asyncio
    from dataclasses import asdict

    from services.policy import preview
    from services.policy.cel import admission

    found: list[tuple[str, Finding]] = []
    planned: list[tuple[str, Planned]] = []
    warned: list[tuple[str, Finding]] = []
    for policy in _policies(args.file):
        examined = admission.examine(policy.rules, policy.definitions)
        findings = [each for each in examined if not each.warning]
        found += [(policy.id, each) for each in findings]
        warned += [(policy.id, each) for each in examined if each.warning]
        if args.plan and not findings:
            planned += [(policy.id, each) for each in asyncio.run(preview.plan(policy))]
    if args.output == "json":
        findings_json, warnings_json = (
            [{"policy": policy, "where": each.where, **asdict(each.diagnostic)} for policy, each in told]
            for told in (found, warned)
        )
        plan_json = [{"policy": policy, **asdict(each)} for policy, each in planned]
        sys.stdout.write(json.dumps({"findings": findings_json, "warnings": warnings_json, "plan": plan_json}) + "\n")
        return int(bool(found))
    lines = [f"{name}: {finding}" for name, finding in found] or ([] if planned else ["no findings"])
    lines += [f"{name}: warning: {finding}" for name, finding in warned]
    if planned:
        rows = [(policy, each.rule, each.method, ", ".join(each.reads), each.why) for policy, each in planned]
        lines += aligned([("POLICY", "RULE", "METHOD", "READS", "WHY"), *rows])
    sys.stdout.write("\n".join(lines) + "\n")
    return int(bool(found))


def _policies(paths: Sequence[str]) -> "Iterator[InForce]":
    """The policies of files, and the Placements' own rules."""
    from services.cli.offline.objects import decoded, workspace_of
    from services.cli.support.manifests import of_kind
    from services.policy.core import InForce, from_spec
    from shared.api import decode_placement, decode_policy

    manifests = read_all(paths)
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
        raise UsageError(f"{', '.join(paths)}: there is no PlacementPolicy, and no Placement with rules, in it")
    yield from policies
