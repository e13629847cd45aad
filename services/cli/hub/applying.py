"""Server-side apply of what a command installs, and what came of it."""

import asyncio
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Literal

from services.cli.hub.connection import MANAGER, PAUSE
from services.cli.hub.objects import KINDS, label
from services.cli.support.errors import CommandError
from shared.hub.resources import APIBINDINGS
from shared.kube.errors import ApiError

if TYPE_CHECKING:
    from shared.kube.client import Client

NEW: Final = 10.0
"""Seconds for which kcp's refusal may be due to what is so new that it has not taken notice of it."""

ApplyResult = Literal["created", "configured", "unchanged"]
_THEIRS = ("generation", "resourceVersion", "managedFields")


async def await_answers(client: "Client", within: float = NEW) -> None:
    """Wait until a workspace of kcp answers: one that is Ready may not be known yet (404), or not be served (503).

    Raises ApiError where that does not pass. Whatever else it answers is told by who asks for something.
    """
    begun = time.monotonic()
    while True:
        try:
            await client.list(APIBINDINGS)
        except ApiError as error:
            if error.unknown_workspace or error.transient:
                if time.monotonic() - begun > within:
                    raise
                await asyncio.sleep(PAUSE)
                continue
        return


async def apply(client: "Client", obj: dict[str, Any], *, force: bool) -> tuple[dict[str, Any], ApplyResult]:
    """Apply one object of `KINDS`; as it is then.

    Raises ApiError, and CommandError for fields that another manager has.
    """
    resource, metadata = KINDS[obj["kind"]], obj["metadata"]
    before: dict[str, Any] | None = None
    try:
        before = await client.get(resource, metadata["name"], metadata.get("namespace", ""))
    except ApiError as error:
        if not error.not_found:
            raise
    try:
        found = await client.apply(resource, obj, field_manager=MANAGER, force=force)
    except ApiError as error:
        if not error.conflict:
            raise
        raise CommandError(f"{label(obj)}: {error.message}; --force-conflicts takes these fields over") from None
    if before is None:
        return found, "created"
    return found, "unchanged" if _wanted(found) == _wanted(before) else "configured"


async def apply_all(
    client: "Client", objects: Iterable[dict[str, Any]], *, force: bool, tells: bool
) -> list[dict[str, Any]]:
    """Apply several, one after another; as they are then. `tells`: print what came of each. Raises as `apply` does."""
    applied = []
    for obj in objects:
        found, outcome = await apply(client, obj, force=force)
        applied.append(found)
        if tells:
            sys.stdout.write(f"{label(obj)} {outcome}\n")
    return applied


def _wanted(obj: dict[str, Any]) -> dict[str, Any]:
    """An object without what API servers and controllers write by themselves: kcp counts versions up for nothing."""
    metadata = {name: value for name, value in obj["metadata"].items() if name not in _THEIRS}
    return {**obj, "metadata": metadata, "status": None}


async def require_admission(client: "Client", server: str, since: str) -> None:
    """Raises CommandError where the server does not know the admission policies, which it does `since` that version."""
    wanted = KINDS["MutatingAdmissionPolicy"]
    try:
        await client.list(wanted)
    except ApiError as error:
        if not error.not_found:
            raise
        raise CommandError(
            f"this {server} has no {wanted.kind} in {wanted.api_version} ({since} or newer has it), so nobody would "
            "record who asks for a Placement; --without-admission installs the rest"
        ) from None


async def delete(client: "Client", obj: dict[str, Any]) -> bool:
    """Delete one object of `KINDS`; whether it was there. Raises ApiError."""
    metadata = obj["metadata"]
    try:
        await client.delete(KINDS[obj["kind"]], metadata["name"], metadata.get("namespace", ""))
    except ApiError as error:
        if not error.not_found:
            raise
        return False
    return True
