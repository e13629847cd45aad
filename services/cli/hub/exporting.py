"""The flags of `moorage install kcp` and `moorage uninstall kcp`: what they do is in `providing`."""

import argparse

from services.cli.support.flags import add_hub_argument, add_provider


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `moorage install kcp`."""
    _add_common(parser)
    parser.add_argument(
        "--allow-bind-group",
        action="append",
        default=[],
        metavar="GROUP",
        help="a group that may bind the export, as system:authenticated; may be given several times (default: as it "
        "is, at first administrators alone)",
    )
    parser.add_argument(
        "--claims-from",
        default="",
        metavar="PATH",
        help="a workspace that has Deployments, Services and the like by APIBindings: these are claimed, too",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the manifests and change nothing")
    parser.add_argument(
        "-o", "--output", choices=("text", "yaml"), default="text", help="yaml: the objects as they are afterwards"
    )
    parser.add_argument(
        "--without-admission",
        action="store_true",
        help="for kcp before 0.32: nobody records who asks for a Placement, so discovery, decision and binding must "
        "run with MOORAGE_AUTHORIZATION=AllowAll, and whoever may write a decision decides",
    )
    parser.add_argument(
        "--force-conflicts", action="store_true", help="take over fields that another field manager has set otherwise"
    )
    parser.set_defaults(run=_install)


def add_removal_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `moorage uninstall kcp`."""
    _add_common(parser)
    parser.set_defaults(run=_uninstall)


def _add_common(parser: argparse.ArgumentParser) -> None:
    add_hub_argument(parser)
    add_provider(parser)


def _install(args: argparse.Namespace) -> int:
    from services.cli.hub.providing import install

    return install(args)


def _uninstall(args: argparse.Namespace) -> int:
    from services.cli.hub.providing import uninstall

    return uninstall(args)
