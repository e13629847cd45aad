"""`moorage bind`: have a workspace of a kcp use Moorage."""

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from services.cli.support.errors import CommandError, UsageError
from services.cli.support.flags import add_provider, add_reader_arguments
from services.cli.support.output import note, printable

if TYPE_CHECKING:
    from shared.kube.client import Client

NOT_NEEDED: Final = (
    "rejected claims take nothing away: each worker reads here by its ClusterRole, if at all. What is accepted every "
    "worker can read, and whoever else may read the export's content"
)

WITHIN: Final = 60.0  # seconds until a binding is in force


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "bind",
        description="Bind Moorage's APIs in a workspace, by server-side apply: an APIBinding, and the rights with "
        "which each worker does its work there. Says of each claim of the APIExport what it is for, and rejects it "
        "unless --accept names it: workers need none. "
        "Needs an administrator of the workspace who may bind the export (moorage install kcp --allow-bind-group). "
        "Idempotent; run it again when claims have come or gone. Once the Placements are gone, `kubectl delete "
        "apibinding placement.moorage.io` takes it back.",
    )
    add_reader_arguments(parser)
    add_provider(parser)
    parser.add_argument(
        "--accept",
        action="append",
        default=[],
        metavar="RESOURCE",
        help="a claim that is accepted, as configmaps or deployments.apps; may be given several times. Whoever may "
        "read the export's content, as every worker may, can read that here, too (default: none)",
    )
    parser.add_argument(
        "--without-rights", action="store_true", help="leave out the workers' ClusterRoles: somebody else sees to them"
    )
    parser.add_argument(
        "--force-conflicts", action="store_true", help="take over fields that another field manager set"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the manifests and change nothing")
    parser.add_argument(
        "-o", "--output", choices=("text", "yaml"), default="text", help="yaml: the objects as they are afterwards"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Bind it, or print how."""
    import asyncio

    from services.cli.hub.connection import hub_errors
    from services.cli.hub.kcp import binding, workers
    from services.cli.hub.objects import as_yaml
    from shared.api.generate.claims import CLAIMS, claimable
    from shared.kube.urls import workspace_url

    if unknown := set(args.accept) - {each.name for each in CLAIMS}:
        raise UsageError(f"--accept: there is no claim {', '.join(sorted(unknown))}")
    try:
        workspace_url("", args.provider)
    except ValueError as error:
        raise UsageError(f"--provider: {error}") from None
    rights = [] if args.without_rights else workers()
    if args.dry_run:
        claims = [each.asked() for each in claimable({})]
        sys.stdout.write(as_yaml([*rights, binding(args.provider, claims, args.accept)]))
        return 0
    with hub_errors():
        asyncio.run(_bind(args, rights))
    return 0


async def _bind(args: argparse.Namespace, rights: list[dict[str, Any]]) -> None:
    from services.cli.hub.applying import apply, apply_all, await_answers
    from services.cli.hub.connection import reader
    from services.cli.hub.kcp import binding
    from services.cli.hub.objects import as_yaml, label

    tells = args.output == "text"
    async with reader(args) as (client, _):
        await await_answers(client)
        applied = await apply_all(client, rights, force=args.force_conflicts, tells=tells)
        bound = await _bound(client, args.provider)
        claims = (bound.get("status") or {}).get("exportPermissionClaims") or []
        wanted = binding(args.provider, claims, args.accept)
        found, outcome = await apply(client, wanted, force=args.force_conflicts)
        applied.append(found)
        await _taken(client)
    if not tells:
        sys.stdout.write(as_yaml(applied))
        return
    sys.stdout.write(f"{label(wanted)} {outcome}\n")
    _tell(wanted["spec"]["permissionClaims"])


async def _bound(client: "Client", provider: str) -> dict[str, Any]:
    """The binding as it is in force, made where it is not there. What is claimed is told by that alone: whoever binds
    need not see the export.
    """
    import asyncio

    from services.cli.hub.applying import NEW
    from services.cli.hub.connection import MANAGER, PAUSE
    from services.cli.hub.kcp import binding
    from shared.hub.resources import APIBINDINGS
    from shared.kube.errors import ApiError

    made, begun = binding(provider, ()), time.monotonic()
    name, found = made["metadata"]["name"], None
    while time.monotonic() - begun < WITHIN:
        try:
            found = await client.get(APIBINDINGS, name)
        except ApiError as error:
            if not error.not_found:
                raise
            try:
                found = await client.apply(APIBINDINGS, made, field_manager=MANAGER)
            except ApiError as refusal:
                if not refusal.forbidden or time.monotonic() - begun > NEW:
                    raise
        if found is not None:
            if found["spec"]["reference"] != made["spec"]["reference"]:
                there = found["spec"]["reference"].get("export", {}).get("path", "")
                raise CommandError(f"the APIBinding {name} is bound to the export in {printable(there)} already")
            if (found.get("status") or {}).get("phase") == "Bound":
                return found
        await asyncio.sleep(PAUSE)
    conditions = ((found or {}).get("status") or {}).get("conditions") or ()
    why = "; ".join(each["message"] for each in conditions if each.get("status") == "False" and each.get("message"))
    raise CommandError(
        f"the APIBinding {name} is not in force after {WITHIN:g} s: {printable(why) or 'nobody says why'}"
    )


async def _taken(client: "Client") -> None:
    """Wait until a Placement would be taken: a binding is in force some moments before that. Whatever else is said of
    this one, which is none, is said by who knows the kind.
    """
    import asyncio

    from services.cli.hub.connection import PAUSE
    from shared.api import API_VERSION
    from shared.hub.resources import PLACEMENTS
    from shared.kube.errors import ApiError

    none = {"apiVersion": API_VERSION, "kind": "Placement", "metadata": {"name": "none", "namespace": "default"}}
    begun = time.monotonic()
    while True:
        try:
            await client.create(PLACEMENTS, none, dry_run=True)
        except ApiError as error:
            unknown = error.status == 503 or (error.not_found and not error.details.get("name"))
            if unknown and time.monotonic() - begun < WITHIN:
                await asyncio.sleep(PAUSE)
                continue
            if unknown:
                raise
        return


def _tell(claims: list[dict[str, Any]]) -> None:
    from services.cli.hub.kcp import named
    from shared.api.generate.claims import CLAIMS

    why = {each.name: each.why for each in CLAIMS}
    for claim in claims:
        name, verbs = named(claim), ", ".join(claim["verbs"])
        sys.stdout.write(f"{claim['state'].lower()} {name} ({verbs}): {why.get(name, 'not known to this version')}\n")
    note(NOT_NEEDED)
    note("moorage place, or kubectl apply of a Placement, works in this workspace from now on")
