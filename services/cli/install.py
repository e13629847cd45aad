"""`moorage install kubernetes`: what a plain Kubernetes hub needs before workers can run: CRDs, rights, admission."""

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING, Any, Literal

from services.cli.hub.connection import MANAGER, PAUSE, add_hub_argument, hub_errors, open_client
from services.cli.hub.objects import KINDS, as_yaml, label, manifests
from services.cli.support.errors import CommandError
from shared.hub.resources import PLACEMENTS
from shared.kube.errors import ApiError
from shared.kube.resources import CRDS, NAMESPACES

if TYPE_CHECKING:
    from shared.kube.client import Client

ESTABLISHED_WITHIN = 60.0  # seconds
ApplyResult = Literal["created", "configured", "unchanged"]


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("install", help="prepare a hub for the workers: CRDs, rights, admission")
    hubs = parser.add_subparsers(title="hubs", metavar="HUB", required=True)
    kubernetes = hubs.add_parser(
        "kubernetes",
        help="a plain Kubernetes cluster",
        description="Apply what the workers need on a plain Kubernetes hub, by server-side apply: CRDs, the namespace "
        "moorage-system with a ServiceAccount and rights per worker, and the admission policies: they record who asks "
        "for a Placement, and have Moorage alone write what it decides. Idempotent; run it again to upgrade. Workers "
        "themselves come by deploy/kubernetes.",
    )
    add_hub_argument(kubernetes)
    kubernetes.add_argument("--dry-run", action="store_true", help="print the manifests and change nothing")
    kubernetes.add_argument(
        "-o", "--output", choices=("text", "yaml"), default="text", help="yaml: the objects as they are afterwards"
    )
    kubernetes.add_argument(
        "--without-admission",
        action="store_true",
        help="for Kubernetes before 1.36: nobody records who asks for a Placement, so discovery, decision and "
        "binding must run with MOORAGE_AUTHORIZATION=AllowAll, and whoever may write a decision decides",
    )
    kubernetes.add_argument(
        "--force-conflicts", action="store_true", help="take over fields that another field manager has set otherwise"
    )
    kubernetes.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Apply everything, or print it."""
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
            await _require_admission(client)
        applied = []
        for obj in objects:
            found, outcome = await _apply(client, obj, force=args.force_conflicts)
            applied.append(found)
            if args.output == "text":
                sys.stdout.write(f"{label(obj)} {outcome}\n")
        await _established(client, [obj["metadata"]["name"] for obj in objects if obj["kind"] == CRDS.kind])
        await _admitting(client, next(obj["metadata"]["name"] for obj in objects if obj["kind"] == NAMESPACES.kind))
    if args.output == "yaml":
        sys.stdout.write(as_yaml(applied))


async def _require_admission(client: "Client") -> None:
    """Raises CommandError where the server does not know the policies, before anything is changed."""
    wanted = KINDS["MutatingAdmissionPolicy"]
    try:
        await client.list(wanted)
    except ApiError as error:
        if not error.not_found:
            raise
        raise CommandError(
            f"this server has no {wanted.kind} in {wanted.api_version} (Kubernetes 1.36 or newer has it), so nobody "
            "would record who asks for a Placement; --without-admission installs the rest"
        ) from None


async def _apply(client: "Client", obj: dict[str, Any], *, force: bool) -> tuple[dict[str, Any], ApplyResult]:
    resource, metadata = KINDS[obj["kind"]], obj["metadata"]
    before = ""
    try:
        current = await client.get(resource, metadata["name"], metadata.get("namespace", ""))
        before = current["metadata"]["resourceVersion"]
    except ApiError as error:
        if not error.not_found:
            raise
    try:
        found = await client.apply(resource, obj, field_manager=MANAGER, force=force)
    except ApiError as error:
        if not error.conflict:
            raise
        raise CommandError(f"{label(obj)}: {error.message}; --force-conflicts takes these fields over") from None
    unchanged = found["metadata"]["resourceVersion"] == before
    return found, "unchanged" if unchanged else "configured" if before else "created"


async def _admitting(client: "Client", namespace: str) -> None:
    """Wait until Placements can be created: admission learns of new kinds some seconds after they are established."""
    trial = {
        "apiVersion": PLACEMENTS.api_version,
        "kind": PLACEMENTS.kind,
        "metadata": {"name": "trial", "namespace": namespace},
        "spec": {"workload": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "trial"}]},
    }
    try:
        async with asyncio.timeout(ESTABLISHED_WITHIN):
            while True:
                try:
                    await client.create(PLACEMENTS, trial, dry_run=True)
                except ApiError as error:
                    if not error.transient:
                        raise
                else:
                    return
                await asyncio.sleep(PAUSE)
    except TimeoutError:
        raise CommandError(f"after {ESTABLISHED_WITHIN:g} s the server still refuses every Placement") from None


async def _established(client: "Client", names: list[str]) -> None:
    """Wait until the server serves these kinds; raises CommandError with its reason when it does not."""
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
