"""Several copies of decision over one world in memory, of which a test says who takes the next step.

Every call to the store or to the hub waits until it is let: before it is done, and where its answer can be late or
lost, after it. So can news. What is not let for long is a copy that stalls; one that is cancelled has crashed.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import msgspec

from services.decision import upkeep, used
from services.decision.bound import InPlace
from services.decision.charges import Charges
from services.decision.completeness import MARKER, Completeness
from services.decision.decider import Decider
from services.decision.ledger import Ledger
from services.decision.memory import Memory, Record
from services.decision.settings import DecisionSettings
from services.decision.vanished import VanishedWorkspaces
from shared.api import PlacementDecisionStatus, PlacementSpec
from shared.broker.bus import Retry
from shared.broker.memory.store import MemoryStore
from shared.broker.table import Table
from shared.hub.access import AllowAll
from shared.hub.quotas import NOBODY, Quotas
from shared.kube.errors import ApiError
from shared.model.decision import Choice, Proposal, Reservation
from shared.model.quota import WorkspaceQuota
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.model.request import Cause, HeadEntry, Request
from shared.model.target import Target
from shared.pipeline.buckets import BUCKETS, CHARGES, HEADS, INVENTORY, QUOTAS, RESERVATIONS, WORKSPACES
from shared.pipeline.events import PlacementEvent, derive
from shared.pipeline.messages import Assigned, Bound, Decided, Message, Scheduled
from tests.unit.decision.ledgers import nominations_over
from tests.unit.decision.steps import Steps, StepStore

ROOM = 4.0
TARGETS = tuple(Target(workspace="root:p", name=name, ready=True, allocatable={"cpu": ROOM}) for name in ("a", "b"))
REFS = tuple(PlacementRef(workspace="root:team", namespace="apps", name=name) for name in ("x", "y", "z"))


class Hub:
    """Decisions as they are written, and what is in the targets: cpu by placement and target."""

    def __init__(self) -> None:
        self.decided: dict[PlacementRef, tuple[int, PlacementDecisionStatus]] = {}
        self.writing: set[PlacementRef] = set()  # decisions of these are about to be written
        self.bindings: dict[tuple[PlacementRef, str], int] = {}  # the attempt that is applied in full, or 0
        self.written: dict[tuple[PlacementRef, str], int] = {}  # the attempt that the binding was written for
        self.applied: dict[tuple[PlacementRef, str], float] = {}
        self.recorded: dict[tuple[PlacementRef, int], bool] = {}  # whether it was refused, by attempt

    def bind(self, message: Assigned, *, fails: bool) -> Bound | None:
        """As binding does: by what is decided now. Where it fails, what ran before runs on."""
        ref, place = message.placement, (message.placement, message.target)
        _, status = self.decided[ref]
        if self.written.get(place, 0) > message.head.attempt:
            return None
        selected = {TargetRef.of(each.target).id: each.reserved for each in status.selected}
        if message.remove and message.target in selected:
            return None
        if message.target not in selected:
            for known in (self.bindings, self.written, self.applied):
                known.pop(place, None)
            return Bound(placement=ref, head=message.head, target=message.target, phase="Removed")
        self.written[place] = message.head.attempt
        self.bindings[place] = 0
        if fails:
            return Bound(placement=ref, head=message.head, target=message.target, phase="Failed")
        self.bindings[place] = message.head.attempt
        self.applied[place] = selected[message.target].get("cpu", 0.0)
        return Bound(
            placement=ref, head=message.head, target=message.target, phase="Applied", applied=message.head.attempt
        )


class StepDecisions:
    """PlacementDecisions and bindings on the hub, seen step by step."""

    def __init__(self, hub: Hub, steps: Steps) -> None:
        self._hub = hub
        self._steps = steps
        self.memory = Memory()

    async def read(self, ref: PlacementRef) -> Record | None:
        self.memory.forget(ref)
        await self._steps.turn()
        found = self._hub.decided.get(ref)
        await self._steps.turn()
        return None if found is None else Record(uid=ref.name, version=str(found[0]), status=found[1])

    async def write(self, ref: PlacementRef, uid: str, status: PlacementDecisionStatus, before: Record | None) -> None:
        self.memory.forget(ref)
        self._hub.writing.add(ref)
        await self._steps.turn()
        version, _ = self._hub.decided.get(ref, (0, None))
        if str(version) != (before.version if before else "0"):
            raise ApiError(409, "Conflict")
        self._hub.decided[ref] = (version + 1, status)
        self._hub.recorded[ref, status.attempt] = bool(status.refusal)
        await self._steps.turn()
        self.memory.note(ref, Record(uid=uid, version=str(version + 1), status=status))

    async def in_place(self, ref: PlacementRef) -> dict[str, InPlace]:
        await self._steps.turn()
        bindings = {target: attempt for (who, target), attempt in self._hub.bindings.items() if who == ref}
        found = {each: InPlace(at, {"cpu": self._hub.applied.get((ref, each), 0.0)}) for each, at in bindings.items()}
        await self._steps.turn()
        return found

    async def exists(self, ref: PlacementRef) -> bool:
        return True


class World:
    """Copies of decision, their work, and what is under way between them and binding."""

    def __init__(self, store: MemoryStore, steps: Steps, deciders: list[Decider], heads: Table[HeadEntry]) -> None:
        self.hub = Hub()
        self.store = store
        self.steps = steps
        self.deciders = deciders
        self.table = Table(store, RESERVATIONS)
        self.heads = heads
        self.attempts: Counter[PlacementRef] = Counter()
        self.pending: list[Message] = []
        self.running: list[tuple[asyncio.Task[Any], Message | None]] = []
        self.news: list[object] = []
        self.contended: set[PlacementRef] = set()
        self.events: dict[str, PlacementEvent] = {}
        self.quota: WorkspaceQuota | None = None

    async def ask(self, number: int, cpu: float, where: int) -> None:
        """A placement is to have so much, in one target or else in the other, or in both or nowhere."""
        ref = REFS[number % len(REFS)]
        self.attempts[ref] += 1
        head = Head(uid=ref.name, generation=1, attempt=self.attempts[ref])
        await self.heads.put(ref.key, HeadEntry(head=head, digest=""))
        first, second = TARGETS[where % 2].id, TARGETS[1 - where % 2].id
        both = where % 3 == 2
        self.pending.append(scheduled(ref, head, cpu, [first, second] if both else [first], [] if both else [second]))

    async def deliver(self, number: int, copy: int, *, fails: bool = False) -> None:
        """Begin to handle a message, which may be under way already: its time to be acknowledged is over."""
        if not self.pending:
            return
        message = self.pending[number % len(self.pending)]
        if isinstance(message, Assigned):
            bound = self.hub.bind(message, fails=fails)
            self.pending += [bound] if bound is not None else []
            if not fails:
                self._done(message)
            return
        decider = self.deciders[copy % len(self.deciders)]
        handling = decider.decide(message) if isinstance(message, Scheduled) else decider.give_back(_bound(message))
        self.running.append((asyncio.create_task(handling), message))
        await self.steps.settle()
        self.collect()

    async def look_for_leftovers(self, copy: int) -> None:
        decider = self.deciders[copy % len(self.deciders)]
        self.running.append((asyncio.create_task(upkeep.release_leftovers(decider)), None))
        await self.steps.settle()

    async def give_back(self, copy: int) -> None:
        """Quotas are charged less for what a copy gave back."""
        decider = self.deciders[copy % len(self.deciders)]
        self.running.append((asyncio.create_task(used.give_back(decider)), None))
        await self.steps.settle()

    async def put_right(self, copy: int) -> None:
        decider = self.deciders[copy % len(self.deciders)]
        self.running.append((asyncio.create_task(used.put_right(decider)), None))
        await self.steps.settle()

    async def crash(self, number: int) -> None:
        """One that is at work ends where it is; its message is delivered again."""
        if self.running:
            task, _ = self.running.pop(number % len(self.running))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def step(self, number: int, steps: int) -> None:
        """One that is at work comes further."""
        if self.running:
            await self.steps.let(self.running[number % len(self.running)][0], steps)
        self.collect()

    async def tell(self, copy: int, steps: int) -> None:
        """A copy hears what was written."""
        await self.steps.let(self.news[copy % len(self.news)], steps)

    def collect(self) -> None:
        """What is done is acknowledged, what it emits is published; what is to be tried again is."""
        for task, message in [each for each in self.running if each[0].done()]:
            self.running.remove((task, message))
            try:
                emitted = task.result()
            except Retry:
                continue
            if message is not None:
                self._done(message)
            self.heard(emitted or ())

    def heard(self, emitted: Iterable[Message]) -> None:
        """What decision says: binding listens, and the controller where others were faster."""
        self.contended |= {each.placement for each in emitted if isinstance(each, Decided) and each.contended}
        self.pending += [each for each in emitted if isinstance(each, Assigned)]
        for each in emitted:
            self.events |= {event.id: event for event in derive(each)}

    async def told(self, message: Message) -> None:
        """Events are told; it takes a step, in which whoever tells may die."""
        await self.steps.turn()
        self.events |= {event.id: event for event in derive(message)}

    def check_events(self) -> None:
        """Whatever was written for an attempt was told, and nothing else was."""
        facts = {(event.data.placement, event.data.attempt): event.data.kind for event in self.events.values()}
        assert facts.keys() == self.hub.recorded.keys()
        for fact, kind in facts.items():
            assert kind == "moved" or self.hub.recorded[fact] == (kind == "refused")

    def _done(self, message: Message) -> None:
        if message in self.pending:
            self.pending.remove(message)

    async def finish(self) -> None:
        """Let all that is under way come to its end; copies hear of nothing."""
        for _ in range(200):
            if not self.running and self.pending:
                await self.deliver(0, 0)
            for number in range(len(self.running)):  # the first one may wait for another's turn to end
                await self.step(number, 200)
            if not (self.pending or self.running):
                break
        assert not self.pending

    async def rest(self) -> None:
        """Let all that is under way come to its end, then look for leftovers."""
        await self.finish()
        for copy in range(len(self.news)):
            await self.tell(copy, 1000)
        await self.look_for_leftovers(0)
        await self.step(0, 200)
        while self.pending:
            await self.deliver(0, 0)
            await self.step(0, 200)

    def purge(self) -> None:
        """Empty the reservations, as a purge of the stream does: nobody who follows them hears of it."""
        self.store.raw(RESERVATIONS)._last.clear()

    async def reserved(self) -> dict[tuple[PlacementRef, str], float]:
        found = {}
        for entry in await self.table.entries():
            if entry.key != MARKER:
                target = TargetRef.owning(entry.key).id
                found[entry.value.placement, target] = entry.value.resources.get("cpu", 0.0)
        return found

    async def check(self) -> None:
        """Nothing is given twice, and nothing runs that is not reserved."""
        reserved = await self.reserved()
        for target in TARGETS:
            total = sum(cpu for (_, where), cpu in reserved.items() if where == target.id)
            assert total <= ROOM, f"{total} reserved in {target.id}: {reserved}"
        for place, cpu in self.hub.applied.items():
            assert cpu <= reserved.get(place, 0.0), f"{cpu} of {place} applied: {reserved}"
        await self.check_quota(reserved)

    async def check_quota(self, reserved: dict[tuple[PlacementRef, str], float]) -> None:
        """What is held in targets is charged, and no more is charged than there is."""
        if self.quota is None:
            return
        entries = await Table(self.store, CHARGES).entries(self.quota.place)
        charged = {each.value.placement: each.value.resources.get("cpu", 0.0) for each in entries}
        for ref in REFS:
            held = sum(cpu for (who, _), cpu in reserved.items() if who == ref)
            assert held <= charged.get(ref, 0.0), f"{ref.name} holds {held}, and is charged {charged.get(ref, 0.0)}"
        assert sum(charged.values()) <= self.quota.hard["cpu"], f"{charged} charged"


def scheduled(
    ref: PlacementRef, head: Head, cpu: float, selected: Sequence[str], alternates: Sequence[str]
) -> Scheduled:
    """A proposal of so much in each of these targets, by their ids; where it is several, of a part in each."""
    first, second = (
        tuple(Choice(target=each, score=50.0, reserve={"cpu": cpu}) for each in targets)
        for targets in (selected, alternates)
    )
    spec = msgspec.convert({"replicas": {"division": "Dynamic" if len(first) > 1 else "Duplicated"}}, PlacementSpec)
    request = Request(placement=ref, head=head, cause=Cause(code="Created"), spec=spec)
    proposal = Proposal(strategy="BestFit", selected=first, alternates=second, feasible=len(first) + len(second))
    return Scheduled(request=request, proposal=proposal, inventory_revision=0)


def _bound(message: Message) -> Bound:
    assert isinstance(message, Bound)
    return message


W = TypeVar("W", bound=World)


async def _never(path: str) -> bool:
    return False


async def opened(
    stack: AsyncExitStack,
    copies: int,
    kind: Callable[..., W] = World,
    targets: Sequence[Target] = TARGETS,
    quota: WorkspaceQuota | None = None,
    settings: DecisionSettings | None = None,
) -> W:
    """A world, whose copies end with the stack."""
    store, steps = MemoryStore(), Steps()
    await store.provision(BUCKETS)
    inventory, heads = Table(store, INVENTORY), Table(store, HEADS)
    for target in targets:
        await inventory.put(TargetRef.of(target).key, target)
    nobody = Reservation(placement=REFS[0], head=Head(uid="", generation=0, attempt=0), resources={})
    await Table(store, RESERVATIONS).put(MARKER, nobody)
    deciders: list[Decider] = []
    world = kind(store, steps, deciders, heads)
    world.quota = quota
    quotas = Table(store, QUOTAS)
    if quota is not None:
        await quotas.put(quota.place, quota)
        await Table(store, CHARGES).put(
            f"{quota.place}.{NOBODY.key}", msgspec.structs.replace(nobody, placement=NOBODY)
        )
    tasks: list[asyncio.Task[Any]] = []
    for _ in range(copies):
        table = Table(StepStore(store, steps), RESERVATIONS)
        news, known, named = table.follow(), inventory.follow(), heads.follow()
        ledger = Ledger(table, news, lambda: 1000.0)
        world.news.append(table._raw)
        tasks += [asyncio.create_task(view.run()) for view in (news, known, named)]
        tasks.append(asyncio.create_task(ledger.follow()))
        charged, bounds = Table(StepStore(store, steps), CHARGES), quotas.follow()
        charges = Charges(charged, charged.follow(), lambda: 1000.0)
        tasks.append(asyncio.create_task(bounds.run()))
        decisions: Any = StepDecisions(world.hub, steps)
        deciders.append(
            Decider(
                settings or DecisionSettings(),
                ledger=ledger,
                nominations=nominations_over(store, ledger, AllowAll(), known, named, settings, charges=charges),
                charges=charges,
                quotas=Quotas(bounds),
                completeness=Completeness(table),
                decisions=decisions,
                access=AllowAll(),
                inventory=known,
                heads=named,
                workspaces=Table(store, WORKSPACES).follow(),
                vanished=VanishedWorkspaces(_never, lambda: 0.0, 1.0),
                clock=lambda: 1000.0,
                tell=world.told,
            )
        )

    async def end() -> None:
        everything = [*tasks, *(task for task, _ in world.running)]
        for task in everything:
            task.cancel()
        await asyncio.gather(*everything, return_exceptions=True)

    stack.push_async_callback(end)
    await steps.settle()
    return world
