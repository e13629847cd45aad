"""Whether each target answers, and takes the credentials that its SyncTarget names."""

import asyncio
from collections.abc import Sequence

from services.cli.diagnosing.cluster import of_hub
from services.cli.diagnosing.faults import Checkup, FaultName, FoundFault, sorted_faults
from shared.hub.targets import TargetClients
from shared.kube.errors import ApiError, ConfigError, KubeError
from shared.kube.resources import NAMESPACES
from shared.model.target import Target

AT_ONCE = 16  # targets
KUBE_SYSTEM = "kube-system"


async def examine(clients: TargetClients, targets: Sequence[Target]) -> Checkup:
    """Ask each target once for the namespace that says which cluster it is, as discovery does.

    One that an access provider leads to is asked where its program is here, too; else discovery's word stands.
    """
    slots = asyncio.Semaphore(AT_ONCE)

    async def ask(target: Target) -> FoundFault | None:
        where = f"target {target.id.removeprefix('/')}"
        # Only workers speak with agents: what discovery found says whether one answers.
        if not target.agent and clients.leads_to(target) and (fault := await reached(target, where)):
            return fault
        if target.ready:
            return None
        return FoundFault(fault="TargetNotReady", where=where, message=target.reason or "discovery cannot use it")

    async def reached(target: Target, where: str) -> FoundFault | None:
        async with slots:
            try:
                client = await clients.get(target)
            except (ConfigError, ValueError) as error:
                return FoundFault(fault="TargetKubeconfig", where=where, message=str(error))
            except ApiError as error:  # of the hub, which has the Secret
                if error.not_found:
                    return FoundFault(fault="TargetKubeconfig", where=where, message=str(error))
                return of_hub(error, f"the Secret of {where}")
            except KubeError as error:
                return of_hub(error, f"the Secret of {where}")
            try:
                await client.get(NAMESPACES, KUBE_SYSTEM)
            except KubeError as error:
                return FoundFault(fault=_name(error), where=where, message=str(error))
        return None

    found = await asyncio.gather(*map(ask, targets))
    return Checkup(part="targets", looked_at=len(targets), faults=sorted_faults(each for each in found if each))


def _name(error: KubeError) -> FaultName:
    if isinstance(error, ConfigError):
        return "TargetKubeconfig"
    if isinstance(error, ApiError):
        if error.unauthorized:
            return "TargetUnauthorized"
        if error.forbidden:
            return "TargetForbidden"
    return "TargetUnreachable"
