"""Taking back what `installing` applied; what was placed stays."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from services.cli.hub.applying import delete
from services.cli.hub.connection import PAUSE, hub_errors, open_client
from services.cli.hub.objects import label, manifests
from services.cli.support.errors import CommandError
from shared.hub.resources import PLACEMENTS
from shared.kube.errors import ApiError
from shared.kube.resources import CRDS, DEPLOYMENTS, NAMESPACES, Resource

if TYPE_CHECKING:
    from shared.kube.client import Client

WORKERS = "app.kubernetes.io/name=moorage"
GONE_WITHIN = 60.0  # seconds
NAMED = 3  # objects that a refusal names


def uninstall(args: argparse.Namespace) -> int:
    """Take it back, or say why not."""
    import asyncio

    with hub_errors():
        asyncio.run(_uninstall(args))
    return 0


async def _uninstall(args: argparse.Namespace) -> None:
    objects = manifests()
    namespace = next(obj["metadata"]["name"] for obj in objects if obj["kind"] == NAMESPACES.kind)
    async with open_client(args.kubeconfig) as client:
        await _refuse_beside_workers(client, namespace)
        placements = await _listed(client, PLACEMENTS)
        if placements and not args.force:
            raise CommandError(_still_there(placements))
        for obj in reversed(objects):
            if obj["kind"] not in (CRDS.kind, NAMESPACES.kind):
                await _delete(client, obj)
        definitions = [obj for obj in objects if obj["kind"] == CRDS.kind]
        if args.crds:
            kinds = {obj["metadata"]["name"]: _kind(obj["spec"]) for obj in definitions}
            for kind in kinds.values():
                await _release(client, kind)
            for obj in definitions:
                await _delete(client, obj)
            await _gone(client, kinds)
    kept = [f"namespace/{namespace}", "what was placed in target clusters"]
    if not args.crds:
        kept.insert(0, f"{len(definitions)} CRDs with their objects (--crds takes them too)")
    sys.stdout.write(f"left as it is: {'; '.join(kept)}\n")


async def _refuse_beside_workers(client: "Client", namespace: str) -> None:
    """A worker that sees its objects vanish would remove what it placed."""
    running = [
        each["metadata"]["name"]
        for each in (await client.list(DEPLOYMENTS, namespace, label_selector=WORKERS)).items
        if each["spec"].get("replicas", 1) > 0
    ]
    if running:
        raise CommandError(
            f"workers run in {namespace} ({', '.join(running)}): take them away first, "
            f"as by kubectl delete deployments -n {namespace} -l {WORKERS}"
        )


def _still_there(placements: list[dict[str, Any]]) -> str:
    names = [f"{each['metadata']['namespace']}/{each['metadata']['name']}" for each in placements]
    more = ", ..." if len(names) > NAMED else ""
    return (
        f"{len(names)} Placements are there ({', '.join(names[:NAMED])}{more}): delete them while the workers run, and "
        "what was placed goes with them; or --force, and it stays where it is"
    )


async def _listed(client: "Client", resource: Resource) -> list[dict[str, Any]]:
    """All objects of one of our kinds; none where it is not served."""
    try:
        return (await client.list(resource)).items
    except ApiError as error:
        if error.not_found:
            return []
        raise


async def _delete(client: "Client", obj: dict[str, Any]) -> None:
    if await delete(client, obj):
        sys.stdout.write(f"{label(obj)} deleted\n")


def _kind(spec: dict[str, Any]) -> Resource:
    """The resource that a CRD's spec defines."""
    names, version = spec["names"], spec["versions"][0]["name"]
    return Resource(spec["group"], version, names["plural"], spec["scope"] == "Namespaced", names["kind"])


async def _release(client: "Client", kind: Resource, *, tells: bool = True) -> None:
    """Take our finalizers off, which no worker is there to take off any more, and say which objects others hold: the
    deletion of their CRD waits for both."""
    for each in await _listed(client, kind):
        metadata = each["metadata"]
        finalizers = metadata.get("finalizers", [])
        left = [name for name in finalizers if not name.startswith(f"{kind.group}/")]
        if left != finalizers:
            patch = {"metadata": {"finalizers": left or None}}
            await client.merge_patch(kind, metadata["name"], patch, metadata.get("namespace", ""))
        if left and tells:
            print(f"{kind.name} {_held(metadata, left)}, which is not ours to take off", flush=True)


def _held(metadata: dict[str, Any], finalizers: list[str]) -> str:
    name = "/".join(part for part in (metadata.get("namespace"), metadata["name"]) if part)
    return f"{name} is held by {', '.join(finalizers)}"


async def _gone(client: "Client", kinds: dict[str, Resource]) -> None:
    """Wait until CRDs (by name, with what they define) and their objects are gone; raises CommandError that says what
    holds them."""
    import asyncio

    waiting = list(kinds)
    try:
        async with asyncio.timeout(GONE_WITHIN):
            while waiting:
                try:
                    await client.get(CRDS, waiting[0])
                except ApiError as error:
                    if not error.not_found:
                        raise
                    waiting.pop(0)
                else:
                    # Admission, until it notices that it is gone itself, puts them back on what is not deleted yet.
                    await _release(client, kinds[waiting[0]], tells=False)
                    await asyncio.sleep(PAUSE)
    except TimeoutError:
        left = [each["metadata"] for each in await _listed(client, kinds[waiting[0]])]
        held = [_held(metadata, metadata["finalizers"]) for metadata in left if metadata.get("finalizers")]
        more = ", ..." if len(held) > NAMED else ""
        why = f": {', '.join(held[:NAMED])}{more}" if held else ""
        raise CommandError(f"{waiting[0]} is not gone after {GONE_WITHIN:g} s{why}") from None
