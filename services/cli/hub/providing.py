"""`moorage install kcp` and `moorage uninstall kcp`: the workspace from which a kcp has Moorage's APIs."""

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING, Any, Final

from services.cli.hub.admitting import admitting, consuming, end_trial
from services.cli.hub.applying import apply_all, await_answers, delete, require_admission
from services.cli.hub.connection import PAUSE, hub_errors, open_client
from services.cli.hub.kcp import provider
from services.cli.hub.objects import EXPORTS, as_yaml, label
from services.cli.hub.placed import PATH_ANNOTATION
from services.cli.support.errors import CommandError, UsageError
from services.cli.support.output import note
from shared.api import GROUP
from shared.hub.resources import APIBINDINGS, WORKSPACES
from shared.kube.errors import ApiError
from shared.kube.resources import Resource
from shared.kube.urls import workspace_url

if TYPE_CHECKING:
    from shared.kube.client import Client

WITHIN: Final = 60.0  # seconds for what kcp's controllers have to do
NAMED: Final = 3  # consumers that a refusal names
SLICES: Final = Resource("apis.kcp.io", "v1alpha1", "apiexportendpointslices", False, "APIExportEndpointSlice")


def install(args: argparse.Namespace) -> int:
    """Apply everything, or print it."""
    _check(args.provider, args.claims_from)
    with hub_errors():
        asyncio.run(_install(args))
    return 0


def uninstall(args: argparse.Namespace) -> int:
    """Take it back, or say why not."""
    _check(args.provider)
    with hub_errors():
        asyncio.run(_uninstall(args))
    return 0


def _check(*paths: str) -> None:
    for path in paths:
        try:
            workspace_url("", path)
        except ValueError as error:
            raise UsageError(str(error)) from None


async def _install(args: argparse.Namespace) -> None:
    from shared.api.generate.claims import unclaimable

    identities = {}
    if args.claims_from:
        async with open_client(args.kubeconfig) as client:
            identities = await _identities(client.cluster(args.claims_from))
    objects = provider(identities, tuple(args.allow_bind_group), admission=not args.without_admission)
    if left := [each.name for each in unclaimable(identities)]:
        note(
            f"not claimed, since kcp wants the identity of what it does not build in (--claims-from): {', '.join(left)}"
        )
    if args.dry_run:
        sys.stdout.write(as_yaml(objects))
        return
    async with open_client(args.kubeconfig) as hub:
        await _make(hub, args.provider)
        client = hub.cluster(args.provider)
        await await_answers(client, WITHIN)
        if not args.without_admission:
            await require_admission(client, "kcp", "0.32")
        applied = await apply_all(client, objects, force=args.force_conflicts, tells=args.output == "text")
        await _offered(client)
        async with consuming(client, args.provider):
            await admitting(client, "default", recorded=not args.without_admission, fresh=True)
    if args.output == "yaml":
        sys.stdout.write(as_yaml(applied))
    elif not args.allow_bind_group:
        note("who may bind it is as it was, at first administrators alone: --allow-bind-group GROUP")


async def _identities(client: "Client") -> dict[tuple[str, str], str]:
    """Under which identities a workspace has what it has from APIExports."""
    found = {}
    for each in (await client.list(APIBINDINGS)).items:
        for bound in (each.get("status") or {}).get("boundResources") or ():
            if identity := (bound.get("schema") or {}).get("identityHash"):
                found[bound.get("group", ""), bound["resource"]] = identity
    return found


async def _make(hub: "Client", path: str) -> None:
    """Make a workspace, and those above it, where they are not there."""
    steps = path.split(":")
    for depth in range(1, len(steps)):
        await _make_below(hub.cluster(":".join(steps[:depth])), steps[depth], ":".join(steps[: depth + 1]))


async def _make_below(parent: "Client", name: str, path: str) -> None:
    try:
        found = await parent.get(WORKSPACES, name)
    except ApiError as error:
        if not error.absent(name):
            raise
        body = {"apiVersion": WORKSPACES.api_version, "kind": WORKSPACES.kind, "metadata": {"name": name}}
        found = await parent.create(WORKSPACES, body)
        note(f"workspace {path} created")
    try:
        async with asyncio.timeout(WITHIN):
            while (found.get("status") or {}).get("phase") != "Ready":
                await asyncio.sleep(PAUSE)
                found = await parent.get(WORKSPACES, name)
    except TimeoutError:
        raise CommandError(f"workspace {path} is not Ready after {WITHIN:g} s") from None


async def _offered(client: "Client") -> None:
    """Wait until the export has an identity, before which nobody can bind it."""
    try:
        async with asyncio.timeout(WITHIN):
            while True:
                if ((await client.get(EXPORTS, GROUP)).get("status") or {}).get("identityHash"):
                    return
                await asyncio.sleep(PAUSE)
    except TimeoutError:
        raise CommandError(f"the APIExport {GROUP} has no identity after {WITHIN:g} s") from None


async def _uninstall(args: argparse.Namespace) -> None:
    async with open_client(args.kubeconfig) as hub:
        client = hub.cluster(args.provider)
        await end_trial(client)
        if consumers := await _consumers(hub, client):
            more = ", ..." if len(consumers) > NAMED else ""
            raise CommandError(
                f"{len(consumers)} workspaces have bound it ({', '.join(consumers[:NAMED])}{more}): delete their "
                f"Placements while the workers run, then their APIBindings {GROUP}"
            )
        for obj in reversed(provider({}, ("",))):  # whoever may bind it
            await _delete(client, obj)
    sys.stdout.write(f"left as it is: workspace {args.provider}; what was placed in target clusters\n")


async def _delete(client: "Client", obj: dict[str, Any]) -> None:
    if await delete(client, obj):
        sys.stdout.write(f"{label(obj)} deleted\n")


async def _consumers(hub: "Client", client: "Client") -> list[str]:
    """The paths of the workspaces that have bound the export, as its virtual workspaces tell."""
    try:
        slices = (await client.list(SLICES)).items
    except ApiError as error:
        if error.not_found:
            return []
        raise
    found = set()
    for one in slices:
        if one["spec"]["export"]["name"] != GROUP:
            continue
        for endpoint in (one.get("status") or {}).get("endpoints") or ():
            for each in (await hub.at(f"{endpoint['url']}/clusters/*").list(APIBINDINGS)).items:
                notes = each["metadata"].get("annotations") or {}
                found.add(notes.get(PATH_ANNOTATION) or notes.get("kcp.io/cluster", ""))
    return sorted(found)
