"""Consumes Requested, emits Discovered; follows workspaces and targets beside."""

from msgspec.structs import replace

from services.discovery.assembly import Discovery, open_discovery
from services.discovery.core import may_stay_on
from services.discovery.settings import DiscoverySettings
from shared.broker.bus import Retry
from shared.hub.authority import may_preempt
from shared.model.refs import TargetRef
from shared.model.request import Preempting
from shared.pipeline.buckets import DISCOVERY_COPIES, INVENTORY, POLICIES, RESERVATIONS, WORKSPACES
from shared.pipeline.messages import Discovered, Requested
from shared.pipeline.worker import Worker

PATIENCE = 30.0
"""Seconds for which a placement waits for a target that it is on to be in the inventory, which may be being rebuilt."""
CATCH_UP = 5.0
"""Seconds that a message waits for the policies that it was made by to be seen here."""
REVIEWED_WITHIN = 3.0
"""Seconds for which a question waits for who may use which target: intake waits for ten, for all stages together."""

worker = Worker(
    "discovery",
    "Finds the targets that a placement may use: reachable, authorized, serving its kinds.",
    settings=DiscoverySettings,
    open=open_discovery,
    follows=(INVENTORY, POLICIES, RESERVATIONS, WORKSPACES),
    copies=DISCOVERY_COPIES,
    tunnels=True,
)


@worker.answers()
@worker.handles(keep_superseded=True)  # they are few, and the scheduler drops them: not worth following all heads
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
    if message.question is not None:
        request = await deps.scoping.scoped(request)
    screened = deps.screening.screened(request)
    within = REVIEWED_WITHIN if message.question is not None else None
    permissions = await deps.access.may_use(request.requester, screened.ids, within)
    found = deps.screening.sorted_out(screened, permissions, request.needed, may_stay_on(request))
    if deps.settings.preemption and request.spec.preemption_policy == "PreemptLowerPriority":
        targets = await may_preempt(deps.access, request.requester, found.targets)
        rank = min(request.spec.priority, deps.settings.preemption_max_priority)
        preempting = Preempting(targets=tuple(each for each in found.targets if each in targets), rank=rank)
        request = replace(request, preempting=preempting)
    return Discovered(request=request, targets=found.targets, rejections=found.rejections, inventory_revision=revision)
