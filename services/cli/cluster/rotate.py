"""`moorage cluster rotate`: another token for the account in a cluster, without a moment in which none works."""

import argparse
import sys

from services.cli.cluster import account, target
from services.cli.cluster.facts import readiness
from services.cli.cluster.hub import MANAGER, ClusterHub, opened
from services.cli.cluster.kubeconfig import stored
from services.cli.support import offering
from services.cli.support.errors import CommandError
from services.cli.support.output import note
from shared.api import SyncTarget
from shared.hub.names import SYSTEM_NAMESPACE
from shared.kube.errors import ApiError
from shared.kube.resources import SECRETS


async def run(args: argparse.Namespace) -> None:
    """Rotate it."""
    import asyncio

    async with opened(args) as hub:
        found = await hub.target(args.name)
        before = await stored(hub, found)
        async with target.client(before) as cluster:
            uid = await target.identity(cluster)
            known = await target.tokens(cluster)
            if before.token not in known:
                raise CommandError(
                    f"{hub.named(args.name)} is not offered by an account that `moorage cluster join` made: "
                    "rotate what its Secret holds yourself, or join it again"
                )
            token, secret = await target.new_token(cluster)
            content = account.kubeconfig(before, token)
            try:
                await _try(content, uid)
                await _write(hub, found, content)
            except (CommandError, ApiError):  # of anything else nobody knows whether it was written
                await target.delete(cluster, SECRETS.kind, secret)
                raise
        note(f"workers take up the new token; the former is revoked in {args.grace:g} s")
        await asyncio.sleep(args.grace)
        ready, why = readiness(await hub.target(args.name))
        if not ready:
            raise CommandError(
                f"{hub.named(args.name)} is not Ready any more ({why}), so the former tokens are not revoked: "
                f"Secrets {', '.join(sorted(known.values()))} in {SYSTEM_NAMESPACE} of the cluster"
            )
        async with target.client(await stored(hub, found)) as cluster:
            for name in known.values():
                await target.delete(cluster, SECRETS.kind, name)
    sys.stdout.write(f"{hub.named(args.name)} has another token; {len(known)} revoked\n")


async def _try(kubeconfig: bytes, uid: str) -> None:
    """Raises CommandError, or KubeError, where a kubeconfig does not lead to this cluster."""
    from shared.kube.auth.kubeconfig import load_kubeconfig

    async with target.client(load_kubeconfig(kubeconfig + b"\n")) as trying:
        if await target.identity(trying) != uid:
            raise CommandError("the address of the cluster leads to several: nothing is changed")


async def _write(hub: ClusterHub, found: SyncTarget, kubeconfig: bytes) -> None:
    ref = found.spec.kubeconfig_secret_ref
    assert ref is not None  # it has been read
    patch = {"data": {ref.key: offering.encoded(kubeconfig)}}
    await hub.client.merge_patch(SECRETS, ref.name, patch, ref.namespace, field_manager=MANAGER)
