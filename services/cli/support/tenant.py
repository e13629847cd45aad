"""What the commands of tenants share: which workspace, which placement, as whom, how long.

Like `flags`, it loads nothing that a help text would have to wait for.
"""

import argparse
import math
from typing import TYPE_CHECKING

from services.cli.support.errors import UsageError

if TYPE_CHECKING:
    from services.cli.support.identity import AskerSettings
    from shared.model.refs import PlacementRef
    from shared.model.words import Verb

SIGN_IN = """\
Where NATS has users, log in as one of the workspace (`moorage nats permissions --help`), by the settings below, such as
MOORAGE_NATS_NKEY.
"""


def subject(settings: "AskerSettings", verb: "Verb") -> str:
    """Where a request is published; raises UsageError where nobody asks."""
    from shared.pipeline.requests import RequestSubject

    if not settings.user:
        raise UsageError("say as whom you ask: --user or MOORAGE_USER")
    return RequestSubject(settings.workspace, settings.user, verb).subject


def placement(args: argparse.Namespace, workspace: str) -> "PlacementRef":
    """The placement that the arguments name; raises UsageError."""
    from shared.model.refs import PlacementRef

    namespace, _, name = args.placement.rpartition("/")
    if not name or "/" in namespace:
        raise UsageError(f"PLACEMENT is NAME or NAMESPACE/NAME, not {args.placement!r}")
    if namespace and args.namespace not in ("", namespace):
        raise UsageError(f"{args.placement} is not in the namespace {args.namespace}")
    return PlacementRef(workspace=workspace, namespace=namespace or args.namespace or "default", name=name)


def duration(text: str) -> float:
    """Seconds, of a flag such as 90s, 1h30m; argparse's type."""
    from shared.api.meta import duration_seconds

    try:
        seconds = duration_seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not math.isfinite(seconds) or seconds > _LONGEST:
        raise argparse.ArgumentTypeError(f"{text} is too long")
    return seconds


_LONGEST = 10 * 365 * 86_400.0
