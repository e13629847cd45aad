"""`moorage install kubernetes`: what a plain Kubernetes hub needs before workers can run: CRDs, rights, admission."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from services.cli.support.errors import CommandError, UsageError
from shared.hub.resources import PLACEMENTS
from shared.kube.errors import ApiError, ConfigError, KubeError
from shared.kube.resources import CRDS, NAMESPACES, Resource

if TYPE_CHECKING:
    from shared.kube.client import Client

MANIFESTS = Path(__file__).with_name("hub")
FIELD_MANAGER = "moorage-install"
ESTABLISHED_WITHIN = 60.0  # seconds
PAUSE = 0.2  # seconds between two looks at what is waited for
ADMISSION = "admissionregistration.k8s.io"
RBAC = "rbac.authorization.k8s.io"

KINDS = {
    resource.kind: resource
    for resource in (
        CRDS,
        NAMESPACES,
        Resource("", "v1", "serviceaccounts", kind="ServiceAccount"),
        Resource(RBAC, "v1", "clusterroles", False, "ClusterRole"),
        Resource(RBAC, "v1", "clusterrolebindings", False, "ClusterRoleBinding"),
        Resource(ADMISSION, "v1", "mutatingadmissionpolicies", False, "MutatingAdmissionPolicy"),
        Resource(ADMISSION, "v1", "mutatingadmissionpolicybindings", False, "MutatingAdmissionPolicyBinding"),
        Resource(ADMISSION, "v1", "validatingadmissionpolicies", False, "ValidatingAdmissionPolicy"),
        Resource(ADMISSION, "v1", "validatingadmissionpolicybindings", False, "ValidatingAdmissionPolicyBinding"),
    )
}
"""Every kind that is installed."""

Outcome = Literal["created", "configured", "unchanged"]


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("install", help="prepare a hub for the workers: CRDs, rights, admission")
    hubs = parser.add_subparsers(title="hubs", metavar="HUB", required=True)
    kubernetes = hubs.add_parser(
        "kubernetes",
        help="a plain Kubernetes cluster",
        description="Apply what the workers need on a plain Kubernetes hub, by server-side apply: CRDs, the namespace "
        "moorage-system with a ServiceAccount and rights per worker, and the admission policies that record who "
        "created a Placement. Idempotent; run it again to upgrade. Workers themselves come by deploy/kubernetes.",
    )
    add_hub_argument(kubernetes)
    kubernetes.add_argument("--dry-run", action="store_true", help="print the manifests and change nothing")
    kubernetes.add_argument(
        "-o", "--output", choices=("text", "yaml"), default="text", help="yaml: the objects as they are afterwards"
    )
    kubernetes.add_argument(
        "--without-admission",
        action="store_true",
        help="for Kubernetes before 1.36: nobody records who created a Placement, so discovery must run with "
        "MOORAGE_AUTHORIZATION=AllowAll",
    )
    kubernetes.add_argument(
        "--force-conflicts", action="store_true", help="take over fields that another field manager has set otherwise"
    )
    kubernetes.set_defaults(run=run)


def add_hub_argument(parser: argparse.ArgumentParser) -> None:
    """The flag that says which hub."""
    parser.add_argument(
        "--kubeconfig", type=Path, help="kubeconfig of an administrator (default: KUBECONFIG, or ~/.kube/config)"
    )


def run(args: argparse.Namespace) -> int:
    """Apply everything, or print it."""
    objects = manifests(admission=not args.without_admission)
    if args.dry_run:
        sys.stdout.write(as_yaml(objects))
        return 0
    try:
        asyncio.run(_install(args, objects))
    except ConfigError as error:
        raise UsageError(str(error)) from None
    except KubeError as error:
        raise CommandError(str(error)) from None
    return 0


def manifests(*, admission: bool = True) -> list[dict[str, Any]]:
    """Everything that is installed, in the order in which it is applied."""
    import yaml

    from shared.api.generate.crds import crd
    from shared.api.resources import RESOURCES

    files = ("namespace.yaml", "rbac.yaml", *(("admission.yaml",) if admission else ()))
    rest = [each for name in files for each in yaml.safe_load_all((MANIFESTS / name).read_text("utf-8")) if each]
    return [*(crd(resource) for resource in RESOURCES), *rest]


def as_yaml(objects: Sequence[dict[str, Any]]) -> str:
    """Manifests as kubectl reads them."""
    import yaml

    return yaml.safe_dump_all(objects, sort_keys=False, explicit_start=True, width=120)


def open_client(kubeconfig: Path | None) -> "Client":
    """A client of the hub. Raises ConfigError."""
    from shared.kube.auth.kubeconfig import default, load_kubeconfig
    from shared.kube.client import Client

    credentials = load_kubeconfig(kubeconfig) if kubeconfig else default()
    return Client(credentials, user_agent=FIELD_MANAGER, timeout=30)


def label(obj: dict[str, Any]) -> str:
    """An object as kubectl names it: `clusterrole.rbac.authorization.k8s.io/moorage-binding`."""
    group = KINDS[obj["kind"]].group
    return f"{obj['kind'].lower()}{f'.{group}' if group else ''}/{obj['metadata']['name']}"


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
            "would record who creates a Placement; --without-admission installs the rest"
        ) from None


async def _apply(client: "Client", obj: dict[str, Any], *, force: bool) -> tuple[dict[str, Any], Outcome]:
    resource, metadata = KINDS[obj["kind"]], obj["metadata"]
    before = ""
    try:
        current = await client.get(resource, metadata["name"], metadata.get("namespace", ""))
        before = current["metadata"]["resourceVersion"]
    except ApiError as error:
        if not error.not_found:
            raise
    try:
        found = await client.apply(resource, obj, field_manager=FIELD_MANAGER, force=force)
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
