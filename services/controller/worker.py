"""The controller worker: follows the hub, and says what is to be placed, for whom, why now."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import asynccontextmanager

from services.controller import upkeep
from services.controller.agenda import Agenda
from services.controller.answers import AnswerTimes
from services.controller.controller import Controller
from services.controller.core.retrying import wait
from services.controller.moves import Moves
from services.controller.observer import Observer
from services.controller.overrides import Overrides
from services.controller.overrides import keep as keep_overrides
from services.controller.preempted import Victims
from services.controller.quotas import QuotaStatuses
from services.controller.reconcile import Reconciler, Said
from services.controller.selection import Selections
from services.controller.settings import ControllerSettings
from services.controller.sweep import sweep as sweep_all
from services.controller.watches import Watches
from shared.aio.rate import Rate
from shared.aio.workqueue import WorkQueue
from shared.broker.bus import Retry
from shared.broker.store import Conflict
from shared.hub.access import open_access
from shared.hub.hub import open_hub
from shared.hub.names import field_manager
from shared.hub.quotas import Charged
from shared.model.refs import PlacementRef
from shared.pipeline.buckets import (
    CHARGES,
    CONTROLLER_COPIES,
    HEADS,
    INVENTORY,
    KINDS,
    POLICIES,
    QUOTAS,
    VICTIMS,
    WAITING,
    WORKSPACES,
)
from shared.pipeline.messages import Cleared, Decided
from shared.pipeline.runtime import Runtime
from shared.pipeline.worker import Worker
from shared.process.measured import BRAKE, PLACEMENTS, UNDECIDED

log = logging.getLogger("moorage.controller")


@asynccontextmanager
async def open_controller(runtime: Runtime) -> AsyncIterator[Controller]:
    """Follow workspaces, inventory, heads and the waiting room; watch every workspace."""
    settings: ControllerSettings = runtime.settings
    async with (
        open_hub(settings, field_manager("controller")) as hub,
        open_access(hub, settings, runtime.clock) as access,
        asyncio.TaskGroup() as tasks,
    ):
        queue: WorkQueue[PlacementRef] = WorkQueue(settings.reconcile_concurrency, lambda ref: ref.workspace)
        agenda = Agenda()
        policies: WorkQueue[tuple[str, str]] = WorkQueue(owner=lambda named: named[0])
        changed_overrides: WorkQueue[tuple[str, str]] = WorkQueue(owner=lambda named: named[0])
        kinds: WorkQueue[tuple[str, str]] = WorkQueue(owner=lambda named: named[0])
        changed_quotas: WorkQueue[tuple[str, str]] = WorkQueue(owner=lambda named: named[0])
        observer = Observer(
            settings=settings,
            heads=await runtime.follow(HEADS),
            waiting=await runtime.follow(WAITING),
            inventory=await runtime.follow(INVENTORY),
            clock=runtime.clock,
            moves=Moves(settings, runtime.clock),
            answers=AnswerTimes(settings.resync_seconds),
            victims=Victims(await runtime.follow(VICTIMS)),
        )
        runtime.readings += (
            BRAKE.number(lambda: len(observer.braking())),
            PLACEMENTS.number(lambda: sum(not each.deleted for each in observer.heads.values())),
            UNDECIDED.number(lambda: len(observer.waiting.entries)),
        )
        workspaces = await runtime.follow(WORKSPACES)

        def quota_changed(path: str, name: str) -> None:
            changed_quotas.add((path, name))
            statuses.note(path, name)

        watches = Watches(
            hub,
            access,
            queue.add,
            agenda.touch,
            policy_changed=lambda path, name: policies.add((path, name)),
            kind_changed=lambda path, name: kinds.add((path, name)),
            override_changed=lambda path, name: changed_overrides.add((path, name)),
            freed=observer.note_world,
            clock=runtime.clock,
            quota_changed=quota_changed,
            most_quotas=settings.max_workspace_quotas,
        )
        charged = Charged(await runtime.follow(CHARGES))
        statuses = QuotaStatuses(watches, charged, observer.note_world, runtime.clock)
        quotas = await runtime.follow(QUOTAS)
        overrides = Overrides(watches, access, runtime.clock)
        reconciler = Reconciler(
            observer=observer,
            watches=watches,
            heads=runtime.table(HEADS),
            waiting=runtime.table(WAITING),
            policies=await runtime.follow(POLICIES),
            kinds=await runtime.follow(KINDS),
            quotas=quotas,
            workspaces=workspaces,
            rounds=Rate(settings.max_workspace_rounds_per_minute, runtime.clock),
            selections=Selections(access),
            overrides=overrides,
            tell=runtime.emit,
            look_at=queue.add,
        )
        deps = Controller(
            settings=settings,
            queue=queue,
            watches=watches,
            observer=observer,
            reconciler=reconciler,
            policies_table=runtime.table(POLICIES),
            changed_policies=policies,
            kinds_table=runtime.table(KINDS),
            changed_kinds=kinds,
            quotas_table=runtime.table(QUOTAS),
            changed_quotas=changed_quotas,
            agenda=agenda,
            left=hub.has_left,
        )
        watches.know(entry.value for entry in reconciler.kinds.entries.values())
        loops = (
            tasks.create_task(upkeep.follow_workspaces(deps, workspaces, tasks)),
            tasks.create_task(upkeep.follow_inventory(deps)),
            tasks.create_task(upkeep.touch_by_key(agenda, observer.heads)),
            tasks.create_task(upkeep.touch_by_key(agenda, observer.waiting)),
            tasks.create_task(upkeep.keep_policies(deps)),
            tasks.create_task(upkeep.follow_policies(deps)),
            tasks.create_task(upkeep.keep_kinds(deps)),
            tasks.create_task(upkeep.follow_kinds(deps)),
            tasks.create_task(observer.victims.follow(queue.add, observer.note_world)),
            tasks.create_task(upkeep.keep_quotas(deps)),
            tasks.create_task(upkeep.follow_quotas(deps, quotas, statuses)),
            tasks.create_task(statuses.follow()),
            tasks.create_task(statuses.run()),
            tasks.create_task(keep_overrides(overrides, changed_overrides, queue.add)),
        )
        yield deps
        for loop in loops:
            loop.cancel()
        watches.set_workspaces(set(), tasks)


worker = Worker(
    "controller",
    "Turns changes in the world into requests to place",
    settings=ControllerSettings,
    open=open_controller,
    follows=(CHARGES, HEADS, INVENTORY, KINDS, POLICIES, QUOTAS, VICTIMS, WAITING, WORKSPACES),
    copies=CONTROLLER_COPIES,
    facts=(Cleared,),
)


@worker.source
async def reconcile(deps: Controller) -> AsyncGenerator[Said, None]:
    """Look at every placement that something changed for; several at a time, none twice at a time."""
    width = deps.settings.reconcile_concurrency
    results: asyncio.Queue[Said] = asyncio.Queue(maxsize=width)
    # No task group: a generator that is closed at a `yield` inside one does not end well. `_work` ends by nothing else.
    crew = [asyncio.create_task(_work(deps, results), name=f"reconcile {number}") for number in range(width)]
    try:
        while True:
            yield await results.get()
    finally:
        for task in crew:
            task.cancel()
        await asyncio.wait(crew)


async def _work(deps: Controller, results: asyncio.Queue[Said]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        ref = await deps.queue.get()
        try:
            message = await deps.reconciler.reconcile(ref)
            if message is not None:
                await results.put(message)
        except asyncio.CancelledError:
            deps.queue.add(ref)  # the source is started anew when the bus is back, and looks at it then
            raise
        except Retry as retry:
            log.debug("placement is looked at again", extra={"ref": str(ref), "why": str(retry)})
            loop.call_later(retry.delay, deps.queue.add, ref)
        except Exception:
            log.exception("placement could not be looked at", extra={"ref": str(ref)})
            loop.call_later(5.0, deps.queue.add, ref)
        finally:
            deps.queue.done(ref)


@worker.handles()
async def note_answer(message: Decided, deps: Controller) -> None:
    """A refusal sends the placement to the waiting room, a decision takes it out."""
    key = message.placement.key
    known = deps.observer.heads.get(key)
    if known is not None and known.head == message.head:
        deps.observer.answers.note(known.requested_at, deps.observer.clock())
    table = deps.reconciler.waiting
    first = message.refusal is None and message.head.attempt == 1
    if first and key not in deps.observer.waiting.entries:
        return  # nothing was refused before, so nothing waits that is not seen yet
    entry = await table.get(key)
    if entry is not None and message.head.older_than(entry.value.head):
        return
    if message.refusal is None:
        if entry is not None:
            await _or_again(table.delete(key, entry.revision))
        return
    now = deps.observer.clock()
    waiting = wait(
        message.placement,
        message.head,
        entry.value if entry else None,
        known.requested_at if known is not None and known.head == message.head else now,
        now,
        contended=message.contended,
        first=deps.settings.waiting_initial_seconds,
        most=deps.settings.waiting_max_seconds,
    )
    if entry is None or entry.value.head != message.head:
        await _or_again(table.update(key, waiting, entry.revision if entry else 0))


async def _or_again(writing: Awaitable[int]) -> None:
    """Somebody else wrote meanwhile: the message is looked at again."""
    try:
        await writing
    except Conflict as error:
        raise Retry(0.05, str(error)) from None


@worker.every(lambda settings: settings.sweep_seconds)
async def sweep(deps: Controller) -> None:
    """Look for what no event tells of."""
    await sweep_all(deps)
