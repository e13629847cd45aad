"""What `moorage force` and `moorage exclude` share: writing a PlacementOverride, and whether it is in force."""

import argparse
import hashlib
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from services.cli.support.errors import CommandError, UsageError
from services.cli.support.flags import add_reader_arguments
from services.cli.support.output import note, printable
from services.cli.support.tenant import duration

if TYPE_CHECKING:
    from shared.api import PlacementOverride
    from shared.kube.client import Client

PATIENCE: Final = 20.0
"""Seconds within which a controller is to say whether an override is in force."""

Spec = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of both."""
    parser.add_argument("--reason", required=True, help="why, for whoever finds it later")
    end = parser.add_mutually_exclusive_group()
    end.add_argument("--for", dest="lasts", type=duration, metavar="DURATION", help="how long it holds, as 2h")
    end.add_argument("--until", type=_moment, metavar="TIME", help="when it ends, as 2026-12-01T06:00:00Z")
    parser.add_argument("--priority", type=int, default=0, help="order among overrides of the workspace; higher wins")
    parser.add_argument("--name", default="", help="name of the PlacementOverride (default: of what it is about)")
    parser.add_argument("--dry-run", action="store_true", help="print it, and write nothing")
    add_reader_arguments(parser)


def _moment(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no time as 2026-12-01T06:00:00Z") from None
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} has no time zone (Z for UTC)")
    if moment.timestamp() <= time.time():
        raise argparse.ArgumentTypeError(f"{text} is over")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def reference(target: str) -> Spec:
    """A target as the API refers to it; raises UsageError."""
    workspace, _, name = target.rpartition("/")
    if not name or "/" in workspace:
        raise UsageError(f"TARGET is NAME or WORKSPACE/NAME, as root:platform/west-1, not {target!r}")
    return {"name": name, **({"workspace": workspace} if workspace else {})}


def named(kind: str, *parts: str) -> str:
    """The name of an override that is given none: the same for the same, so that another call changes it."""
    whole = "-".join([kind, *parts]).lower()
    text = "".join(each if each.isascii() and each.isalnum() else "-" for each in whole).strip("-")
    return text if len(text) <= 200 else f"{text[:180]}-{hashlib.sha256(whole.encode()).hexdigest()[:12]}"


def run(args: argparse.Namespace, name: str, spec: Spec) -> int:
    """Write the override, or print it; ends well once it is in force. Raises CommandError where it is not."""
    import asyncio

    from services.cli.hub.connection import hub_errors
    from shared.hub.resources import OVERRIDES
    from shared.kube.times import rfc3339

    if args.lasts is not None:
        spec["expiresAt"] = rfc3339(time.time() + args.lasts, "seconds")
    elif args.until:
        spec["expiresAt"] = args.until
    spec |= {"reason": args.reason, **({"priority": args.priority} if args.priority else {})}
    metadata = {"name": args.name or name}
    body = {"apiVersion": OVERRIDES.api_version, "kind": OVERRIDES.kind, "metadata": metadata, "spec": spec}
    if args.dry_run:
        import yaml

        sys.stdout.write(yaml.safe_dump(body, sort_keys=False))
        return 0
    with hub_errors():
        asyncio.run(_written(args, body))
    return 0


async def _written(args: argparse.Namespace, body: Spec) -> None:
    import asyncio

    from services.cli.hub.connection import PAUSE, reader
    from shared.api import decode_override, get_condition
    from shared.hub.names import field_manager
    from shared.hub.resources import OVERRIDES

    name = body["metadata"]["name"]
    async with reader(args) as (client, _):
        before = await _found(client, name)
        # As a whole, on condition that nobody changes it meanwhile: what was written before and is left out goes.
        manager = field_manager("override")
        if before is None:
            written = decode_override(await client.create(OVERRIDES, body, field_manager=manager))
        else:
            body["metadata"]["resourceVersion"] = before.metadata.resource_version
            written = decode_override(await client.replace(OVERRIDES, body, field_manager=manager))
        said, deadline = None, time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            now = await _found(client, name)
            if now is None or now.metadata.uid != written.metadata.uid:
                raise CommandError(f"{name} was taken back by somebody else")
            said = get_condition(now.status.conditions, "Accepted")
            if said is not None and said.observed_generation >= written.metadata.generation:
                break
            said = None
            await asyncio.sleep(PAUSE)
    if said is None:
        raise CommandError(f"{name} is written, but no controller has said within {PATIENCE:g} s that it is in force")
    if said.status != "True":
        raise CommandError(f"{name} is written, and not in force: {printable(said.message)}")
    sys.stdout.write(f"{name} is in force: {printable(said.message)}\n")
    note(f"to take it back: moorage unforce {name}")


async def _found(client: "Client", name: str) -> "PlacementOverride | None":
    from shared.api import decode_override
    from shared.hub.resources import OVERRIDES
    from shared.kube.errors import ApiError

    try:
        return decode_override(await client.get(OVERRIDES, name))
    except ApiError as error:
        if error.absent(name):
            return None
        raise
