"""The controller worker: follows the hub, and says what is to be placed, for whom, why now."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import asynccontextmanager

from services.controller import overrides, upkeep
from services.controller.agenda import Agenda
from services.controller.controller import Controller
from services.controller.core.retrying import wait
from services.controller.moves import Moves
from services.controller.observer import Observer
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
from shared.model.refs import PlacementRef
from shared.pipeline.buckets import HEADS, INVENTORY, POLICIES, WAITING, WORKSPACES
from shared.pipeline.messages import Decided
from shared.pipeline.runner import Runtime
from shared.pipeline.worker import Worker
from shared.process.metrics import gauge

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
        observer = Observer(
            settings=settings,
            heads=await runtime.follow(HEADS),
            waiting=await runtime.follow(WAITING),
            inventory=await runtime.follow(INVENTORY),
            clock=runtime.clock,
            moves=Moves(settings, runtime.clock),
        )
        runtime.metrics.append(
            gauge(
                "moorage_brake_held_targets",
                "Lost targets that nothing is moved away from, since too many were lost at once.",
                lambda: len(observer.braking()),
            )
        )
        watches = Watches(
            hub,
            queue.add,
            agenda.touch,
            policy_changed=lambda path, name: policies.add((path, name)),
            freed=observer.note_world,
        )
        reconciler = Reconciler(
            observer=observer,
            watches=watches,
            heads=runtime.table(HEADS),
            waiting=runtime.table(WAITING),
            policies=await runtime.follow(POLICIES),
            rounds=Rate(settings.max_workspace_rounds_per_minute, runtime.clock),
            selections=Selections(access),
        )
        deps = Controller(
            settings=settings,
            queue=queue,
            watches=watches,
            observer=observer,
            reconciler=reconciler,
            policies_table=runtime.table(POLICIES),
            changed_policies=policies,
            agenda=agenda,
        )
        loops = (
            tasks.create_task(upkeep.follow_workspaces(deps, await runtime.follow(WORKSPACES), tasks)),
            tasks.create_task(upkeep.follow_inventory(deps)),
            tasks.create_task(upkeep.touch_by_key(agenda, observer.heads)),
            tasks.create_task(upkeep.touch_by_key(agenda, observer.waiting)),
            tasks.create_task(upkeep.keep_policies(deps)),
            tasks.create_task(upkeep.follow_policies(deps)),
            tasks.create_task(overrides.follow(hub, await runtime.follow(WORKSPACES), runtime.clock)),
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
    follows=(HEADS, INVENTORY, POLICIES, WAITING, WORKSPACES),
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
    table = deps.reconciler.waiting
    entry = await table.get(key)
    if entry is not None and message.head.older_than(entry.value.head):
        return
    if message.refusal is None:
        if entry is not None:
            await _or_again(table.delete(key, entry.revision))
        return
    now, known = deps.observer.clock(), deps.observer.heads.get(key)
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
