"""`moorage exclude`: an operator's override that keeps placements out of targets."""

import argparse
from types import SimpleNamespace
from typing import Any

from services.cli.hub import overriding
from services.cli.support.errors import UsageError
from services.cli.support.tenant import placement

DESCRIPTION = """\
Keep one placement, or all with some labels, out of targets (a PlacementOverride of type Exclude). What runs there
leaves once it runs elsewhere, and stays where it fits nowhere else.

  moorage exclude west-1 --placement shop/backend --reason "noisy neighbour" --for 2h
  moorage exclude west-1 west-2 --selector tier=batch --reason "power is short" --until 2026-12-01T06:00:00Z

It takes the verb `override` on the Placement (with --selector: on all of the workspace), or on the SyncTargets where
they are of that workspace, see docs/overrides.md. Called again, it replaces what it wrote before.

Exit codes: 0 it is in force; 1 it is refused, not in force, or no controller says so; 2 the command line cannot be
used.
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "exclude", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", metavar="TARGET", nargs="+", help="NAME, or WORKSPACE/NAME")
    about = parser.add_mutually_exclusive_group(required=True)
    about.add_argument("--placement", metavar="PLACEMENT", help="NAME or NAMESPACE/NAME")
    about.add_argument("--selector", metavar="KEY=VALUE,...", help="labels of the placements")
    parser.add_argument("-n", "--namespace", default="", help="of the placement (default: default)")
    overriding.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write it."""
    spec: dict[str, Any] = {"type": "Exclude", "targets": [overriding.reference(each) for each in args.targets]}
    names = [each["name"] for each in spec["targets"]]
    about: tuple[str, ...]
    if args.placement:
        named = SimpleNamespace(placement=args.placement, namespace=args.namespace)
        ref = placement(argparse.Namespace(**vars(named)), "")
        spec["placementRef"] = {"namespace": ref.namespace, "name": ref.name}
        about = (ref.namespace, ref.name)
    else:
        labels = dict(_label(each) for each in args.selector.split(","))
        spec["placementSelector"] = {"matchLabels": labels}
        about = tuple(f"{key}-{value}" for key, value in sorted(labels.items()))
    return overriding.run(args, overriding.named("exclude", *names, *about), spec)


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.strip().partition("=")
    if not key or not equals:
        raise UsageError(f"--selector is KEY=VALUE,..., not {text!r}")
    return key, value
