"""Consumes Requested, emits Discovered; follows workspaces and targets beside."""

from services.discovery.assembly import Discovery, open_discovery
from services.discovery.core import Workspaces, answer, providers_of, screen
from services.discovery.settings import DiscoverySettings
from shared.broker.bus import Retry
from shared.model.refs import TargetRef
from shared.pipeline.buckets import DISCOVERY_COPIES, INVENTORY, POLICIES, RESERVATIONS, WORKSPACES
from shared.pipeline.messages import Discovered, Requested
from shared.pipeline.worker import Worker

PATIENCE = 30.0
"""Seconds for which a placement waits for a target that it is on to be in the inventory, which may be being rebuilt."""
CATCH_UP = 5.0
"""Seconds that a message waits for the policies that it was made by to be seen here."""

worker = Worker(
    "discovery",
    "Finds the targets that a placement may use: reachable, authorized, serving its kinds.",
    settings=DiscoverySettings,
    open=open_discovery,
    follows=(DISCOVERY_COPIES, INVENTORY, POLICIES, RESERVATIONS, WORKSPACES),
)


@worker.handles()
async def discover(message: Requested, deps: Discovery) -> Discovered:
    """Where it could run, and why not elsewhere. A request that is in error passes on: decision reports it."""
    revision, request = deps.inventory.revision, message.request
    if request.error:
        return Discovered(request=request, targets=(), inventory_revision=revision)
    unknown = [each.target for each in request.previous if deps.inventory.get(TargetRef.parse(each.target).key) is None]
    if set(unknown) - set(request.leaving) and deps.clock() < request.requested_at + PATIENCE:
        raise Retry(1.0, f"{unknown[0]}, which it is on, is not in the inventory (yet)")
    if not await deps.policies.reached(request.policy_revision, CATCH_UP):
        raise Retry(0.5, f"has not seen revision {request.policy_revision} of policies yet")
    labels = {entry.value.path: entry.value.labels for entry in deps.workspaces.entries.values()}
    policies = (entry.value for entry in deps.policies.entries.values())
    trusted = (*deps.trusted, *providers_of(request, policies))
    screened = screen(request, deps.candidates(), Workspaces(labels), trusted)
    ids = [candidate.id for candidate in screened.candidates]
    permissions = await deps.access.may_use(request.requester, ids)
    return answer(request, screened, permissions, revision)
