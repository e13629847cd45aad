"""Flags that several commands have. Nothing is imported here that a help text would have to wait for."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from services.cli.support.errors import UsageError
from services.cli.support.files import add_files, read_all


def add_placement(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """An argument for one placement, and a flag for its namespace."""
    parser.add_argument(
        "placement",
        metavar="PLACEMENT",
        nargs="?" if optional else None,
        default="",
        help="NAME or NAMESPACE/NAME" + (" (default: all of the workspace)" if optional else ""),
    )
    parser.add_argument(
        "-n",
        "--namespace",
        default="",
        help="its namespace, where PLACEMENT does not say it"
        + (" (without PLACEMENT: all of that namespace)" if optional else " (default: default)"),
    )


def add_provider(parser: argparse.ArgumentParser) -> None:
    """The flag that says from which workspace of a kcp its tree gets Moorage's APIs."""
    default = "root:moorage"
    parser.add_argument(
        "--provider", default=default, metavar="PATH", help=f"the workspace of the APIExport (default: {default})"
    )


def add_hub_argument(parser: argparse.ArgumentParser) -> None:
    """The flag that says which hub."""
    parser.add_argument(
        "--kubeconfig",
        type=Path,
        help="kubeconfig of an administrator (default: MOORAGE_KUBECONFIG, KUBECONFIG or ~/.kube/config)",
    )


def add_reader_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of commands that only read: which hub, and which workspace of it."""
    parser.add_argument(
        "--kubeconfig",
        type=Path,
        metavar="FILE",
        help="of the hub, as a user of the workspace (default: MOORAGE_KUBECONFIG, KUBECONFIG or ~/.kube/config)",
    )
    parser.add_argument(
        "--workspace",
        metavar="PATH",
        help="workspace of a kcp, as root:team (default: MOORAGE_WORKSPACE, or that of the kubeconfig)",
    )


def add_file(parser: argparse.ArgumentParser) -> None:
    """The option with what is asked about."""
    add_files(parser, "one Placement, and the objects that it places", required=True)


def add_application(parser: argparse.ArgumentParser) -> None:
    """The options by which files without a Placement are placed as one."""
    group = parser.add_argument_group("an application", "Place all objects of the files, of which none is a Placement.")
    group.add_argument("--name", default="", metavar="NAME", help="name of the Placement that is made of them")
    group.add_argument("-n", "--namespace", default="", help="namespace that they are in (default: default)")
    group.add_argument(
        "--to",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="label of the targets; region and zone stand for topology.kubernetes.io/...; repeatable",
    )
    group.add_argument("--count", type=_count, default=None, metavar="N", help="in how many targets (default: 1)")


def asked_for(args: argparse.Namespace) -> dict[str, Any]:
    """What is to be placed, by the files and the options of `add_application`; raises UsageError."""
    if not args.name:
        for flag in ("namespace", "to", "count"):
            if getattr(args, flag) not in ("", [], None):
                raise UsageError(f"--{flag} goes with --name; a Placement in the file says it itself")
        return content(args.file)
    from services.cli.support.application import NoApplication, application

    labels = [text.partition("=") for text in args.to]
    if wrong := [text for text, (key, equals, _) in zip(args.to, labels, strict=True) if not (key and equals)]:
        raise UsageError(f"--to {wrong[0]}: it takes KEY=VALUE")
    objects = read_all(args.file)
    if any(each["kind"] == "Placement" for each in objects):
        raise UsageError("--name makes a Placement of all objects, and one of them is a Placement: leave out either")
    to = {key: value for key, _, value in labels}
    namespace, count = args.namespace or "default", 1 if args.count is None else args.count
    try:
        placement, selected = application(objects, args.name, namespace, to, count)
    except NoApplication as error:
        raise UsageError(str(error)) from None
    return {"placement": placement, "objects": selected}


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"at least 1, not {text}")
    return number


def content(files: Sequence[str], default_namespace: str = "default") -> dict[str, Any]:
    """The one Placement in these files, and the objects that come along; raises UsageError."""
    from services.cli.support import manifests

    found = read_all(files)
    placements = manifests.of_kind(found, "Placement")
    if len(placements) != 1:
        hint = "; --name makes one of all objects" if not placements and found else ""
        raise UsageError(
            f"{', '.join(files)}: one Placement is asked for at a time, and there are {len(placements)}{hint}"
        )
    placement = placements[0]
    namespace = placement["metadata"].get("namespace") or default_namespace
    named = {**placement, "metadata": {**placement["metadata"], "namespace": namespace}}
    return {"placement": named, "objects": [each for each in found if each is not placement]}
