"""`moorage cluster leave`: offer a cluster no more."""

import argparse
import sys
from typing import TYPE_CHECKING

from services.cli.cluster import account, drain, target
from services.cli.cluster.facts import readiness, some
from services.cli.cluster.hub import ClusterHub, opened
from services.cli.cluster.kubeconfig import stored
from services.cli.support import offering
from services.cli.support.errors import CommandError, UsageError
from services.cli.support.output import note
from shared.api import SyncTarget
from shared.hub.names import SYSTEM_NAMESPACE
from shared.hub.resources import SYNCTARGETS
from shared.kube.errors import ApiError, KubeError
from shared.kube.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, SECRETS, Resource
from shared.model.refs import PlacementRef

if TYPE_CHECKING:
    from shared.kube.auth.kubeconfig import Credentials

SETTLED = 3.0
"""Seconds after a cordon by which no decision is under way any more that did not know of it."""


async def run(args: argparse.Namespace) -> None:
    """Have it leave, or say why not."""
    import asyncio

    owner = target.credentials(args.cluster_kubeconfig, args.cluster_context) if args.cluster_kubeconfig else None
    async with opened(args) as hub:
        found = await hub.target(args.name)
        if owner is not None:
            await _refuse_another(hub, found, owner)
        if args.drain:
            await drain.begin(hub, found)
            await drain.until_empty(hub, args.name, args.timeout)
        elif not found.spec.unschedulable:
            await _refuse_while_used(hub, found, owner, abandon=args.abandon)
            await hub.change(found, {"unschedulable": True})
            if not args.abandon:
                await asyncio.sleep(SETTLED)
        try:
            await _refuse_while_used(hub, found, owner, abandon=args.abandon)
        except CommandError:
            if not (args.drain or found.spec.unschedulable):
                await hub.change(await hub.target(args.name), {"unschedulable": None})
            raise
        await _let_go(hub, found, owner)
        await _withdraw(hub, args.name)
    sys.stdout.write(f"{hub.named(args.name)} has left\n")


async def _refuse_another(hub: ClusterHub, found: SyncTarget, owner: "Credentials") -> None:
    async with target.client(owner) as cluster:
        if found.status.cluster_uid not in ("", await target.identity(cluster)):
            raise UsageError(f"--cluster-kubeconfig leads to another cluster than {hub.named(found.metadata.name)}")


async def _refuse_while_used(hub: ClusterHub, found: SyncTarget, owner: "Credentials | None", *, abandon: bool) -> None:
    """Raises CommandError where something is placed there, or nobody can say; unless it is abandoned, and then where it
    is not gone at all. That this command does not reach a cluster proves nothing while workers do: it is Ready then."""
    name = found.metadata.name
    placed = {each.placement for each in await hub.placed(hub.id(name))}
    there, silence = await _in_cluster(hub, found, owner)
    ready, _ = readiness(await hub.target(name))
    if abandon:
        if ready or not silence:
            how = "is Ready, so that workers reach it" if ready else "answers"
            raise CommandError(
                f"{hub.named(name)} {how}, and nothing need be abandoned there: moorage cluster leave {name} --drain"
            )
        return
    if silence and ready:
        raise CommandError(
            f"{hub.named(name)} is Ready, so that workers reach it, but this command does not ({silence}), and cannot "
            "see what is placed there: it looks by --cluster-kubeconfig FILE, from where that cluster is reached. If "
            "it has just stopped answering, try again once it is not Ready any more"
        )
    if silence and placed:
        raise CommandError(
            f"{hub.named(name)} does not answer ({silence}), and {len(placed)} placements have something there that "
            f"cannot be taken away ({some(sorted(placed))}). Once it answers, `moorage cluster leave {name} --drain`; "
            f"if it is gone for good, `moorage cluster leave {name} --abandon`"
        )
    if silence:
        note(f"the cluster does not answer ({silence}): the account in it stays")
    if used := placed | set(there):
        raise CommandError(
            f"{len(used)} placements are in {hub.named(name)} ({some(sorted(used))}): `moorage cluster drain {name}` "
            "has them leave, and --drain does so first"
        )


async def _in_cluster(
    hub: ClusterHub, found: SyncTarget, owner: "Credentials | None"
) -> tuple[list[PlacementRef], str]:
    """What is placed as the cluster itself says, or why it does not say so."""
    try:
        async with target.client(owner if owner is not None else await stored(hub, found)) as cluster:
            return await target.placed(cluster), ""
    except (KubeError, CommandError) as error:
        return [], str(error)


async def _let_go(hub: ClusterHub, found: SyncTarget, owner: "Credentials | None") -> None:
    """Take back in the cluster what can be: all of the account with its owner's help, else its tokens, by itself."""
    try:
        if owner is not None:
            async with target.client(owner) as cluster:
                for kind, name in account.parts():
                    await target.delete(cluster, kind, name)
                for name in (await target.tokens(cluster)).values():
                    await target.delete(cluster, SECRETS.kind, name)
            note(f"the account is gone; the namespace {SYSTEM_NAMESPACE} stays, since it may hold what is yours")
            return
        credentials = await stored(hub, found)
        async with target.client(credentials) as cluster:
            known = await target.tokens(cluster)
            if credentials.token not in known:
                note("the cluster was not joined by `moorage cluster join`: whatever its Secret held works on there")
                return
            own = known.pop(credentials.token)
            for name in (*known.values(), own):  # its own last
                await target.delete(cluster, SECRETS.kind, name)
        note(f"the account in the cluster has no token any more; its roles stay: {_commands()}")
    except (KubeError, CommandError) as error:
        note(f"the account in the cluster stays: {error}. There, {_commands()}")


def _commands() -> str:
    roles = " ".join(name for kind, name in account.parts() if kind == CLUSTERROLES.kind)
    return (
        f"kubectl delete clusterrolebinding,clusterrole {roles}; "
        f"kubectl delete serviceaccount {account.ACCOUNT} -n {SYSTEM_NAMESPACE}"
    )


async def _withdraw(hub: ClusterHub, name: str) -> None:
    """Take back what is on the hub; the SyncTarget first, so that nothing is placed any more."""
    parts: list[tuple[Resource, str, str]] = [
        (SYNCTARGETS, name, ""),
        (CLUSTERROLEBINDINGS, offering.right_name(name), ""),
        (CLUSTERROLES, offering.right_name(name), ""),
        (SECRETS, offering.secret_name(name), SYSTEM_NAMESPACE),
    ]
    for resource, each, namespace in parts:
        try:
            await hub.client.delete(resource, each, namespace)
        except ApiError as error:
            if not error.not_found:
                raise
