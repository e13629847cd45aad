"""What a plain Kubernetes hub needs before workers can run: its kinds, rights, admission; `providing` has kcp's."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from services.cli.hub.admitting import ESTABLISHED_WITHIN, admitting
from services.cli.hub.applying import apply_all, require_admission
from services.cli.hub.connection import PAUSE, hub_errors, open_client
from services.cli.hub.objects import as_yaml, manifests
from services.cli.support.errors import CommandError
from shared.kube.resources import CRDS, NAMESPACES

if TYPE_CHECKING:
    from shared.kube.client import Client


def install(args: argparse.Namespace) -> int:
    """Apply everything, or print it."""
    import asyncio

    objects = manifests(admission=not args.without_admission)
    if args.dry_run:
        sys.stdout.write(as_yaml(objects))
        return 0
    with hub_errors():
        asyncio.run(_install(args, objects))
    return 0


async def _install(args: argparse.Namespace, objects: list[dict[str, Any]]) -> None:
    async with open_client(args.kubeconfig) as client:
        if not args.without_admission:
            await require_admission(client, "server", "Kubernetes 1.36")
        applied = await apply_all(client, objects, force=args.force_conflicts, tells=args.output == "text")
        await _established(client, [obj["metadata"]["name"] for obj in objects if obj["kind"] == CRDS.kind])
        namespace = next(obj["metadata"]["name"] for obj in objects if obj["kind"] == NAMESPACES.kind)
        await admitting(client, namespace, recorded=not args.without_admission)
    if args.output == "yaml":
        sys.stdout.write(as_yaml(applied))


async def _established(client: "Client", names: list[str]) -> None:
    """Wait until the server serves these kinds; raises CommandError with its reason when it does not."""
    import asyncio

    waiting = list(names)
    try:
        async with asyncio.timeout(ESTABLISHED_WITHIN):
            while waiting:
                status = (await client.get(CRDS, waiting[0])).get("status") or {}
                told = {each["type"]: each for each in status.get("conditions") or ()}
                if told.get("Established", {}).get("status") == "True":
                    waiting.pop(0)
                elif told.get("NamesAccepted", {}).get("status") == "False":
                    raise CommandError(f"{waiting[0]} is not accepted: {told['NamesAccepted'].get('message', '')}")
                else:
                    await asyncio.sleep(PAUSE)
    except TimeoutError:
        raise CommandError(f"{waiting[0]} is not served after {ESTABLISHED_WITHIN:g} s") from None
