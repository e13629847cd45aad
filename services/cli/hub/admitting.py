"""Waiting until a hub takes Placements as it is to: those who install are told no sooner that it is done."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from services.cli.hub.connection import MANAGER, PAUSE
from services.cli.hub.kcp import binding
from services.cli.support.errors import CommandError
from shared.api import GROUP
from shared.hub.names import REQUESTER_ANNOTATION
from shared.hub.resources import APIBINDINGS, PLACEMENTS
from shared.kube.errors import ApiError

if TYPE_CHECKING:
    from shared.kube.client import Client

ESTABLISHED_WITHIN: Final = 60.0  # seconds
TRIAL: Final = f"trial.{GROUP}"
"""The name of the APIBinding by which the workspace of the export is its own consumer for a moment."""


@asynccontextmanager
async def consuming(client: "Client", provider: str) -> AsyncIterator[None]:
    """The workspace of the export binds it itself for as long as the block runs, where it has not done so for good.

    Raises CommandError where that is not in force in time.
    """
    reference = binding(provider, ())["spec"]["reference"]
    if any(each["spec"]["reference"] == reference for each in await _bindings(client) if _name(each) != TRIAL):
        yield
        return
    trial = binding(provider, ())
    trial["metadata"]["name"] = TRIAL
    try:
        async with _bounded(f"the APIExport {GROUP} cannot be bound"):
            while True:
                try:
                    found = await client.apply(APIBINDINGS, trial, field_manager=MANAGER)
                except ApiError as error:  # a new export may not be known to what decides on it yet
                    if not (error.forbidden or error.transient):
                        raise
                else:
                    if (found.get("status") or {}).get("phase") == "Bound":
                        break
                await asyncio.sleep(PAUSE)
        yield
    finally:
        await end_trial(client)


async def end_trial(client: "Client") -> None:
    """Take back the binding of the trial, where it is there, also of an installation that was broken off."""
    try:
        await client.delete(APIBINDINGS, TRIAL)
    except ApiError as error:
        if error.not_found:
            return
        raise
    async with _bounded(f"the APIBinding {TRIAL} does not go"):
        while any(_name(each) == TRIAL for each in await _bindings(client)):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(PAUSE)


async def _bindings(client: "Client") -> list[dict[str, Any]]:
    return (await client.list(APIBINDINGS)).items


def _name(obj: dict[str, Any]) -> str:
    return str(obj["metadata"]["name"])


@asynccontextmanager
async def _bounded(trouble: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(ESTABLISHED_WITHIN):
            yield
    except TimeoutError:
        raise CommandError(f"after {ESTABLISHED_WITHIN:g} s {trouble}") from None


async def admitting(client: "Client", namespace: str, *, recorded: bool, fresh: bool = False) -> None:
    """Wait until Placements can be created, and their requester is recorded where it is to be.

    Admission learns of new kinds some seconds after they are established, and of new policies as late: until then the
    server takes Placements and records nobody. `fresh` says that rights and the namespace may not be known yet either.
    Raises ApiError, and CommandError where it is not so in time.
    """
    trial = {
        "apiVersion": PLACEMENTS.api_version,
        "kind": PLACEMENTS.kind,
        "metadata": {"name": "trial", "namespace": namespace},
        "spec": {"workload": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "trial"}]},
    }
    refusal = ""
    try:
        async with asyncio.timeout(ESTABLISHED_WITHIN):
            while True:
                try:
                    created = await client.create(PLACEMENTS, trial, dry_run=True)
                except ApiError as error:
                    unknown = fresh and (error.forbidden or error.not_found)
                    if not (error.transient or unknown or _holds_in_part(error)):
                        raise
                    refusal = f": {error}"
                else:
                    refusal = ""
                    if not recorded or REQUESTER_ANNOTATION in created["metadata"].get("annotations", {}):
                        return
                await asyncio.sleep(PAUSE)
    except TimeoutError:
        raise CommandError(
            f"after {ESTABLISHED_WITHIN:g} s the server refuses every Placement still, or records nobody who "
            f"asks{refusal}"
        ) from None


def _holds_in_part(error: ApiError) -> bool:
    """Whether what checks the requester is in force already, and what records it is not."""
    return error.forbidden and f"'requester-is-the-author.{PLACEMENTS.group}'" in error.message
