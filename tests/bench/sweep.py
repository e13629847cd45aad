"""CPU time of one sweep of the controller over many placements that are all as they should be.

    python -m tests.bench.sweep [--placements 10000]

The sweep runs every second on one core, and tells by caches alone which placements are to be looked at. Every placement
is decided, bound and ready in two targets. Fastest and median of ten sweeps, by `time.process_time`: where something
changed for all of them, as at a start; where nothing did; where a target was added each time, and where one was lost.
"""

import argparse
import asyncio
import statistics
import time
from typing import Any

from services.controller.agenda import Agenda
from services.controller.answers import AnswerTimes
from services.controller.controller import Controller
from services.controller.core.observation import KnownDecision
from services.controller.moves import Moves
from services.controller.observer import Observer
from services.controller.overrides import Overrides
from services.controller.preempted import Victims
from services.controller.projections import KnownBinding
from services.controller.reconcile import Reconciler
from services.controller.selection import Selections
from services.controller.settings import ControllerSettings
from services.controller.sweep import sweep
from services.controller.watches import Watches
from services.controller.workspace import WorkspaceWatch
from shared.aio.rate import Rate
from shared.aio.workqueue import WorkQueue
from shared.api import decode_placement
from shared.broker.memory.store import MemoryStore
from shared.broker.table import Entry, Table
from shared.hub.access import AllowAll
from shared.hub.hub import Hub
from shared.kube.auth.kubeconfig import Credentials
from shared.kube.client import Client
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.model.request import HeadEntry, PreviousChoice
from shared.model.target import Target
from shared.pipeline.buckets import BUCKETS, HEADS, INVENTORY, KINDS, POLICIES, QUOTAS, VICTIMS, WAITING
from shared.pipeline.buckets import WORKSPACES as WORKSPACE_BUCKET
from tests.bench.machine import machine

WORKSPACES = 100
TARGETS = 200
NOW = 1_800_000_000.0
DECIDED = NOW - 3600.0


def fill(controller: Controller, placements: int) -> None:
    """Put placements into the caches, evenly over the workspaces, as informers and views would."""
    for number in range(TARGETS):
        target = Target(workspace="root:platform", name=f"target-{number:03}", ready=True)
        controller.observer.inventory.entries[TargetRef.of(target).key] = Entry("", target, 1)
    for number in range(placements):
        workspace = f"root:team-{number % WORKSPACES:02}"
        watch = controller.watches.get(workspace)
        assert watch is not None
        ref = PlacementRef(workspace=workspace, namespace="shop", name=f"web-{number:05}")
        names = [f"target-{(number + step) % TARGETS:03}" for step in (0, 7)]
        selected = tuple(PreviousChoice(target=f"root:platform/{name}", replicas=2) for name in names)
        watch._placements.objects[ref.namespace, ref.name] = placement(ref, names)
        watch._decisions.objects[ref.namespace, ref.name] = KnownDecision(attempt=3, selected=selected)
        watch._bound[ref] = {name: KnownBinding(ref.name, f"root:platform/{name}", 3) for name in names}
        head = Head(uid=ref.name, generation=1, attempt=3)
        controller.agenda.touch(ref)
        controller.observer.heads.entries[ref.key] = Entry(
            ref.key, HeadEntry(head=head, digest="d", requested_at=DECIDED), 1
        )


def placement(ref: PlacementRef, names: list[str]) -> Any:
    metadata = {"name": ref.name, "namespace": ref.namespace, "uid": ref.name, "generation": 1}
    targets = [{"workspace": "root:platform", "name": name, "phase": "Ready"} for name in names]
    spec = {"workload": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": ref.name}]}
    status = {"phase": "Ready", "targets": targets}
    return decode_placement({"metadata": metadata, "spec": spec, "status": status})


async def untold(_: Any) -> None:
    """Nobody listens."""


async def build(placements: int) -> Controller:
    store, settings = MemoryStore(), ControllerSettings()
    await store.provision(BUCKETS)
    async with Client(Credentials(server="http://localhost")) as client:
        hub = Hub(client, "kcp")
        watches = Watches(hub, AllowAll(), lambda _: None, lambda _: None, *[lambda *_: None] * 3, lambda: None)
        for number in range(WORKSPACES):
            path = f"root:team-{number:02}"
            watch = WorkspaceWatch(path, hub.at(path), AllowAll(), *[lambda _: None] * 5, lambda: None)
            for informer in (
                watch._placements,
                watch._declared,
                watch._overrides,
                watch.quotas.objects,
                watch._decisions,
            ):
                informer.synced.set()
            watch.policies.known.set()
            watch._bound_known.set()
            watches._running[path] = (watch, asyncio.create_task(asyncio.sleep(0)))
        observer = Observer(
            settings=settings,
            heads=Table(store, HEADS).follow(),
            waiting=Table(store, WAITING).follow(),
            inventory=Table(store, INVENTORY).follow(),
            clock=lambda: NOW,
            moves=Moves(settings, lambda: NOW),
            answers=AnswerTimes(settings.resync_seconds),
            victims=Victims(Table(store, VICTIMS).follow()),
        )
        reconciler = Reconciler(
            observer=observer,
            watches=watches,
            heads=Table(store, HEADS),
            waiting=Table(store, WAITING),
            policies=Table(store, POLICIES).follow(),
            kinds=Table(store, KINDS).follow(),
            quotas=Table(store, QUOTAS).follow(),
            workspaces=Table(store, WORKSPACE_BUCKET).follow(),
            rounds=Rate(0, lambda: NOW),
            selections=Selections(AllowAll()),
            overrides=Overrides(watches, AllowAll(), lambda: NOW),
            tell=untold,
            look_at=lambda _ref: None,
        )
        found = Controller(
            settings=settings,
            queue=WorkQueue(),
            watches=watches,
            observer=observer,
            reconciler=reconciler,
            policies_table=Table(store, POLICIES),
            changed_policies=WorkQueue(),
            kinds_table=Table(store, KINDS),
            changed_kinds=WorkQueue(),
            quotas_table=Table(store, QUOTAS),
            changed_quotas=WorkQueue(),
            agenda=Agenda(),
            left=hub.has_left,
        )
        fill(found, placements)
        return found


async def measure(placements: int) -> dict[str, list[float]]:
    """Processor milliseconds of each sweep, by what happened before it."""
    controller = await build(placements)
    inventory, lost = (
        controller.observer.inventory,
        Target(workspace="root:platform", name="target-000", lost_since=NOW),
    )

    def add_target() -> None:
        name = f"new-{len(inventory.entries)}"
        inventory.entries[name] = Entry("", Target(workspace="root:platform", name=name, ready=True), 1)
        inventory.revision += 1
        controller.observer.note_world()

    def lose_target() -> None:
        inventory.entries[TargetRef.of(lost).key] = Entry("", lost, 1)
        inventory.revision += 1
        controller.agenda.touch_on(lost.id)

    happening = {
        "something changed for all": controller.agenda.touch_all,
        "nothing happened": lambda: None,
        "a target was added": add_target,
        "a target was lost": lose_target,
    }
    await sweep(controller)  # which makes all known
    times: dict[str, list[float]] = {}
    for what, happens in happening.items():
        times[what] = []
        for _ in range(10):
            happens()
            begun = time.process_time()
            await sweep(controller)
            times[what].append(1000 * (time.process_time() - begun))
    assert len(controller.queue) == 0
    return times


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--placements", type=int, default=10_000)
    placements = parser.parse_args().placements
    print(machine())
    for what, times in asyncio.run(measure(placements)).items():
        fastest, median = min(times), statistics.median(times)
        print(f"{placements} placements, {what}: fastest {fastest:.2f} ms, median {median:.2f} ms a sweep")


if __name__ == "__main__":
    main()
