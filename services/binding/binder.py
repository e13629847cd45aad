"""The order of steps that makes crashes and races harmless.

Before anything happens in a target, the PlacementBinding says so (created or changed by compare-and-set, then leased);
afterwards it says what came of it. Whoever finds another's lease waits; whoever loses a write reads again and acts on
what is true then. What nobody decided is not applied: the PlacementDecision is read after a PlacementBinding was made,
and before one that is there is written.
"""

from collections.abc import Awaitable, Callable, Collection

from services.binding import lease, lifecycle, runs
from services.binding.conclusions import Conclusions
from services.binding.consent import admitted
from services.binding.core import Identity, Wanted, identity, keeping
from services.binding.intents import Intents
from services.binding.judge import (
    Operation,
    Order,
    begins,
    is_of_another,
    judge,
    lives,
    may_not_run_twice,
    order_for,
    undecided,
)
from services.binding.leases import Leases
from services.binding.records import Facts, Records
from services.binding.removal import Removal
from services.binding.revisions import Revisions
from services.binding.rollouts import AwaitsTurn, Rollouts
from services.binding.settings import BindingSettings
from services.binding.target.applyset import AppliedSet, ApplySet
from services.binding.target.disposal import Heirs
from services.binding.target.reach import Reach
from services.binding.trouble import Trouble
from services.binding.vacating import Vacating
from services.binding.workload import Workloads
from shared.api import BoundObject, Placement, PlacementBinding, PlacementDecision
from shared.broker.bus import Retry
from shared.broker.table import View
from shared.hub.access import Access
from shared.hub.requester import requester_of
from shared.hub.retry import SOON
from shared.kube.errors import ApiError
from shared.model.report import TargetReport
from shared.model.request import Permission
from shared.pipeline.messages import Assigned, Bound, Observed
from shared.process import audit
from shared.process.tracing import current_trace

_AUDITED: dict[str, audit.Reason] = {
    "KindNotAllowed": "KindNotAllowed",
    "NamespaceClaimed": "NamespaceClaimed",
    "NamespaceProtected": "NamespaceProtected",
    "NotAuthorized": "NotAuthorized",
    "NotOurs": "NotOurs",
    "NotReadable": "NotReadable",
    "OwnedByOther": "NotOurs",
}
"""Trouble that somebody's reaching too far means."""
_DENIED: dict[Permission, str] = {
    "NoRequester": "no requester is recorded on the Placement",
    "NoAccess": "the requester may not enter the target's workspace (verb access on /), without which no right counts",
}
"""Why the target may not be used, where there is more to say than that."""

Decide = Callable[[], Awaitable[PlacementDecision | None]]
"""Reads the decision."""


class Binder:
    """Applies and removes. `publish` tells of a failure, since a handler that raises Retry returns no message."""

    def __init__(
        self,
        settings: BindingSettings,
        *,
        records: Records,
        access: Access,
        workloads: Workloads,
        reach: Reach,
        reports: View[TargetReport],
        publish: Callable[[Bound], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._records = records
        self._access = access
        self._workloads = workloads
        self._reach = reach
        self._clock = clock
        self._rollouts = Rollouts(records, clock)
        self._vacating = Vacating(records, reach.lost)
        self._revisions = Revisions(records)
        self._leases = Leases(settings, records=records, reach=reach, publish=publish, clock=clock)
        self.conclusions = Conclusions(settings, leases=self._leases, reports=reports, clock=clock)
        self._removal = Removal(
            settings, records=records, reach=reach, reports=reports, leases=self._leases, clock=clock
        )

    async def bind(self, message: Assigned) -> Bound | None:
        """Bring one target to where it is to be now. Raises Retry, and what the hub answers."""
        ref, target = message.placement, message.target
        if message.remove:
            self._removal.await_reports(message)
        await self.conclusions.settle(ref, target)
        if begins(message) and self._records.is_new(ref, target):
            with self._records.deciding(ref) as decision:
                placement = await self._records.placement(ref, message.head)
                if lives(message, placement) and not may_not_run_twice(placement):
                    try:
                        return await self._apply(message, Facts(placement, None, None), decision)
                    except ApiError as error:
                        if not error.already_exists:
                            raise
        facts = await self._records.facts(ref, target, writing=message)
        try:
            return await self._act(message, facts)
        except ApiError as error:
            if facts.certain or not (error.conflict or error.not_found):
                raise
        return await self._act(message, await self._records.facts(ref, target))

    async def _act(self, message: Assigned, facts: Facts) -> Bound | None:
        match self._judge(message, facts):
            case "drop":
                self._report_undecided(message, facts)
                return None
            case "remove":
                return await self._removal.remove(message, facts)
            case "apply":
                return await self._apply(message, facts, lambda: self._records.decision(message.placement))

    async def correct(self, message: Observed, drifted: Collection[Identity]) -> Bound | None:
        """Apply once more what a binding was last written for, above all the `drifted` objects. Raises as `bind`."""
        facts = await self._records.facts(message.placement, message.target)
        if facts.binding is None or facts.decision is None or lifecycle.deleting(facts.binding):
            return None  # what is not decided (any more) is not put right
        assigned = Assigned(
            placement=message.placement,
            head=message.head,
            target=message.target,
            block=message.block,
            replicas=facts.binding.spec.replicas,
        )
        if self._judge(assigned, facts) != "apply":
            return None  # what is to be done instead is in a message of its own
        try:
            return await self._apply(assigned, facts, lambda: self._records.decision(message.placement), drifted)
        except AwaitsTurn:
            return None  # nobody has what ran before any more; what changed comes by a message of its own

    def _report_undecided(self, message: Assigned, facts: Facts) -> None:
        if facts.placement is not None and undecided(message, facts.decision):
            audit.refused("NotDecided", placement=str(message.placement), target=message.target, stage="assigned")

    def _judge(self, message: Assigned, facts: Facts) -> Operation:
        return judge(message, facts.placement, facts.decision, facts.binding)

    async def _apply(
        self,
        message: Assigned,
        facts: Facts,
        decide: Decide,
        drifted: Collection[Identity] = (),
        held: str = "",
    ) -> Bound | None:
        """`decide` reads the decision where the binding is made only now; `held` is a lease that we have already."""
        before = facts.binding
        if before is not None:
            self._leases.respect(message, before, held)
            if lifecycle.deleting(before):  # somebody deleted it by hand: it ends as it should, and begins anew
                await self._removal.remove(message, facts)
                raise Retry(SOON, "the binding was being deleted")
        placement = facts.placement
        assert placement is not None
        order = order_for(message, facts.decision)
        wanted = await self._wanted(message, placement, order, anew=bool(drifted))
        if wanted is None:
            await self._await_decision(message, before)
            return None
        if isinstance(wanted, Wanted):
            try:
                wanted = keeping(wanted, before.spec.manifests if before is not None else ())
                wanted = await self._vacating.awaited(message, facts, wanted)
            except Trouble as problem:
                wanted = problem
        trace = current_trace()
        model = before or lifecycle.fresh(message, order.replicas, trace)
        intended = lifecycle.intended(model, message, wanted, order.replicas, trace)
        if isinstance(wanted, Wanted):
            await self._rollouts.await_turn(message, facts, intended)
            await self._revisions.keep(message, placement, wanted)
        applyset: ApplySet | Trouble | Retry | None = None
        if isinstance(wanted, Wanted) and (drifted or not lifecycle.is_settled(before, intended)):
            applyset = await self._opened(message)
            intended = self._leases.take(intended) if isinstance(applyset, ApplySet) else intended
        with self._leases.giving_up(intended):
            if before is None:
                facts = await self._begin(message, placement, intended, decide)
                if (operation := self._judge(message, facts)) != "apply":
                    return await self._turn_back(message, facts, operation)
                if order_for(message, facts.decision) != order:
                    return await self._apply(message, facts, decide, held=lease.name_of(intended))
            else:
                facts = await self._write(message, facts, intended)
            return await self._finish(message, facts, before, wanted, applyset, drifted)

    async def _finish(
        self,
        message: Assigned,
        facts: Facts,
        before: PlacementBinding | None,
        wanted: Wanted | Trouble,
        applyset: ApplySet | Trouble | Retry | None,
        drifted: Collection[Identity],
    ) -> Bound:
        """The binding says what is intended: do it, or say why not."""
        placement, binding = facts.placement, facts.binding
        assert placement is not None
        assert binding is not None
        for problem in (wanted, applyset):
            if isinstance(problem, Trouble):
                _audit(message, placement, problem)
                await self._leases.fail(message, binding, problem)
        if isinstance(applyset, Retry):
            raise applyset
        if isinstance(applyset, ApplySet) and isinstance(wanted, Wanted):
            recorded = await self._recorded(message, facts, binding, wanted)
            return await self._apply_in_target(message, placement, binding, before, wanted, applyset, drifted, recorded)
        if not lifecycle.in_place(binding):
            raise Retry(SOON, "others changed the binding meanwhile")
        return lifecycle.bound(message, binding, repeated=lifecycle.is_repeated(before, message))

    async def _opened(self, message: Assigned) -> ApplySet | Trouble | Retry:
        """The way into the target; or why there is none now, which is for after the binding says what is intended."""
        try:
            return await self._leases.open(message)
        except (Trouble, Retry) as problem:
            return problem

    async def _wanted(
        self, message: Assigned, placement: Placement, order: Order, *, anew: bool
    ) -> Wanted | Trouble | None:
        """What is to be in the target, or why that cannot be; None where the workload is not what was decided. `anew`:
        as it is by now, and not as it was for other targets a moment ago.
        """
        target = self._reach.target(message.target)
        denied = await self._denied(message, placement)
        if denied is not None:
            return denied
        wanted = await self._workloads.wanted(message, placement, order, target.labels, anew=anew)
        return admitted(wanted, message.placement, target) if isinstance(wanted, Wanted) else wanted

    async def _begin(
        self, message: Assigned, placement: Placement, intended: PlacementBinding, decide: Decide
    ) -> Facts:
        """Make the binding. What was decided meanwhile was decided by somebody who could not see it, and counts."""
        binding = await self._records.create(message.placement, intended)
        decision = await decide()
        return Facts(placement, None if is_of_another(decision, message) else decision, binding)

    async def _turn_back(self, message: Assigned, facts: Facts, operation: Operation) -> Bound | None:
        """A binding was made just now that should not be."""
        if operation == "remove":
            held = lease.name_of(facts.binding) if facts.binding is not None else ""
            found = await self._records.facts(message.placement, message.target)
            return await self._removal.remove(message, found, held)
        self._report_undecided(message, facts)
        if facts.binding is not None:
            await self._records.discard(message.placement, facts.binding)
        return None

    async def _write(self, message: Assigned, facts: Facts, intended: PlacementBinding) -> Facts:
        """Have a binding that is there say what is intended."""
        if intended is facts.binding:
            return facts
        return Facts(facts.placement, facts.decision, await self._records.write(message.placement, intended))

    async def _await_decision(self, message: Assigned, before: PlacementBinding | None) -> None:
        """Leave what runs: the workload is not what was decided. The round that follows from its change decides it.

        Nobody is told: whoever heard of this attempt as bound would give back what still runs.
        """
        if before is None:
            return
        binding = lifecycle.outdated(before, self._clock())
        if binding is not before:
            await self._records.write_status(message.placement, binding)

    async def _denied(self, message: Assigned, placement: Placement) -> Trouble | None:
        """Why the Placement, as it is now, may not use the target.

        What was decided, and what the message says, may be somebody else's making, or of a time when that was not so.
        """
        requester = requester_of(placement)
        permission = (await self._access.may_use(requester, (message.target,)))[message.target]
        if permission == "Allowed":
            return None
        if permission == "Unknown":
            said = "nobody can say whether the requester may use this target"
            return Trouble("PermissionGranted", "AuthorizationUnknown", said, lasting=False)
        said = _DENIED.get(permission, "the requester may not use this target")
        return Trouble("PermissionGranted", "NotAuthorized", said, lasting=True)

    async def _recorded(
        self, message: Assigned, facts: Facts, binding: PlacementBinding, wanted: Wanted
    ) -> dict[Identity, BoundObject]:
        """What is known of the objects: in this target, and of what ended in one that the placement leaves."""
        recorded = {identity(each.ref): each for each in binding.status.objects}
        moved = message.head.attempt > 1 and facts.decision is not None
        lacking = runs.unrecorded(wanted, recorded) if moved else []
        if not lacking or facts.decision is None:
            return recorded
        others = await self._records.others(message.placement)
        return recorded | runs.ended_elsewhere(lacking, others, message.head.uid, facts.decision)

    async def _apply_in_target(
        self,
        message: Assigned,
        placement: Placement,
        binding: PlacementBinding,
        before: PlacementBinding | None,
        wanted: Wanted,
        applyset: ApplySet,
        drifted: Collection[Identity],
        recorded: dict[Identity, BoundObject],
    ) -> Bound:
        force = placement.spec.conflict_policy == "TakeOver"
        intents = Intents(self._leases, message, binding)
        unchanged = lifecycle.untouched(before, wanted, recorded.keys() - set(drifted))

        async def apply(applyset: ApplySet, heirs: Heirs) -> AppliedSet:
            try:
                if placement.spec.conflict_policy == "Report":
                    return await applyset.report(wanted, recorded)
                return await applyset.apply(
                    wanted,
                    unchanged=unchanged,
                    recorded=recorded,
                    drifted=drifted,
                    force=force,
                    heirs=heirs,
                    begin=intents.around,
                    first=before is None,
                    recreate=placement.spec.on_immutable_change == "Recreate",
                    labels=lambda: self._workloads.namespace_labels(message.placement, placement),
                )
            except Trouble as problem:
                _audit(message, placement, problem)
                raise

        outcome = await self._leases.work(message, binding, applyset, apply)
        binding = intents.binding
        found = {**recorded, **{identity(each.ref): each for each in outcome.objects}}
        objects = [lifecycle.as_of(found[identity(each)], each) for each in wanted.refs if identity(each) in found]
        if outcome.short is not None:
            await self._leases.fail(message, binding, outcome.short, objects, outcome.differences)
        notes = (*wanted.notes, *outcome.notes)
        concluded = await self.conclusions.begin(message, binding, objects, notes)
        return lifecycle.bound(message, concluded, repeated=lifecycle.is_repeated(before, message))


def _audit(message: Assigned, placement: Placement, problem: Trouble) -> None:
    reason = _AUDITED.get(problem.reason)
    if reason is not None:
        requester = requester_of(placement)
        audit.refused(
            reason,
            requester=requester.username if requester else "",
            placement=str(message.placement),
            target=message.target,
            stage="binding",
            said=problem.message,
        )
