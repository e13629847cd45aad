"""The worker: it follows the inventory and the reservations, and answers every message with a proposal."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from services.scheduler.settings import SchedulerSettings
from services.scheduler.turns import WorkspaceTurns
from services.scheduler.worker import Scheduler, open_scheduler, propose, worker
from shared.broker.bus import Retry
from shared.broker.memory.bus import MemoryBus
from shared.broker.memory.store import MemoryStore
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.model.decision import Rejection, Reservation
from shared.model.policy import RuleResult
from shared.model.refs import Head
from shared.model.target import Target
from shared.pipeline.buckets import BUCKETS, INVENTORY, RESERVATIONS
from shared.pipeline.messages import Evaluated, Scheduled
from shared.pipeline.runtime import Runtime
from tests.support.waiting import until
from tests.unit.scheduler.builders import NOW, REGION, deployment, placement, request, target

HEAD = Head(uid="u", generation=1, attempt=1)


class Lab:
    """A running scheduler over state in memory."""

    def __init__(self, store: MemoryStore, scheduler: Scheduler) -> None:
        self.store = store
        self.inventory = Table(store, INVENTORY)
        self.reservations = Table(store, RESERVATIONS)
        self.scheduler = scheduler
        self.now = NOW
        self.snapshot = scheduler.proposer.snapshot

    async def offer(self, *targets: Target) -> int:
        """Put targets into the inventory; its revision."""
        return max([await self.inventory.put(join(each.workspace, each.name), each) for each in targets])

    async def reserve(self, name: str, cpu: float, **labels: str) -> None:
        """Another placement takes so much of a target (nothing: gives it back); returns once that is known."""
        other = placement("other")
        taken = Reservation(placement=other, head=HEAD, resources={"cpu": cpu} if cpu else {}, labels=labels)
        await self.reservations.put(join("root", name, other.workspace, other.namespace, other.name), taken)
        await until(lambda: self.snapshot.taken.total(f"root/{name}", "cpu", assumed=False) == cpu)

    async def propose(self, names: str, revision: int, spec: Any = None, **more: Any) -> Scheduled:
        asked = request(spec, **{key: more.pop(key) for key in ("error", "workload") if key in more})
        targets = tuple(f"root/{name}" for name in names.split())
        return await propose(
            Evaluated(request=asked, targets=targets, inventory_revision=revision, **more), self.scheduler
        )


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Lab]:
    store = MemoryStore()
    await store.provision(BUCKETS)
    async with asyncio.TaskGroup() as tasks:
        runtime = Runtime(SchedulerSettings(**settings), MemoryBus(), store, tasks, clock=lambda: lab.now)
        async with open_scheduler(runtime) as scheduler:
            lab = Lab(store, scheduler)
            yield lab
        await runtime.end()


async def test_a_message_is_answered_from_the_inventory_that_it_was_made_from() -> None:
    async with running() as lab:
        revision = await lab.offer(target("a"), target("b", unschedulable=True))
        earlier = Rejection(reason="NotAuthorized", message="not authorized", targets=("root/x",))
        rule = RuleResult(policy="p", rule="cheap", effect="Prefer", outcomes="te")
        warnings = (Rejection(reason="PolicyForbids", message="spot", targets=("root/a", "root/b")),)
        stage = {"rules": (rule,), "rejections": (earlier,), "warnings": warnings}
        answer = await lab.propose("a b", revision, scores=(80.0, 20.0), **stage)

        assert [choice.target for choice in answer.proposal.selected] == ["root/a"]
        assert answer.proposal.selected[0].breakdown["Policy"].raw == 80.0
        assert answer.rules == {"root/a": {"p/cheap": "true"}}
        assert answer.warnings == {"root/a": ("spot",)}
        assert [each.reason for each in answer.rejections] == ["NotAuthorized", "Unschedulable"]
        assert answer.inventory_revision >= revision


async def test_targets_come_change_and_go() -> None:
    async with running() as lab:
        await lab.offer(target("a"))
        revision = await lab.offer(target("a", unschedulable=True), target("b"))
        assert [c.target for c in (await lab.propose("a b", revision)).proposal.selected] == ["root/b"]
        revision = await lab.inventory.delete(join("root", "b"))
        answer = await lab.propose("a b", revision)
        assert answer.proposal.refusal is not None
        assert answer.proposal.refusal.message == "0/2 targets: 1 gone from the inventory, 1 unschedulable"


async def test_what_others_reserved_is_not_free_until_they_give_it_back() -> None:
    async with running() as lab:
        revision = await lab.offer(target("a"))
        await lab.reserve("a", 9.5)
        refused = await lab.propose("a", revision, workload=[deployment(cpu=1.0)])
        assert refused.proposal.refusal is not None
        assert refused.proposal.refusal.message == "0/1 targets: 1 insufficient cpu"
        await lab.reserve("a", 0.0)
        assert (await lab.propose("a", revision)).proposal.selected
        await lab.reserve("a", 9.5)
        await lab.reservations.delete(join("root", "a", "root:shop", "shop", "other"))
        await until(lambda: not lab.snapshot.taken.reservations)
        assert (await lab.propose("a", revision)).proposal.selected


async def test_what_cannot_be_read_among_the_reservations_is_passed_over() -> None:
    async with running() as lab:
        await lab.offer(target("a"))
        for garbage in ("x", "root.a", "a.b.c.d.e"):
            await lab.store.raw(RESERVATIONS).put(garbage, b"garbage")
        await lab.reserve("a", 1.0)


async def test_placements_find_their_neighbours_by_the_labels_that_reservations_carry() -> None:
    term = {"selector": {"matchLabels": {"app": "db"}}, "topologyKey": REGION}
    async with running() as lab:
        revision = await lab.offer(target("a", region="north"), target("b", region="south"))
        await lab.reserve("b", 1.0, app="db")
        near = await lab.propose("a b", revision, {"affinity": {"placementAffinity": [term]}})
        far = await lab.propose("a b", revision, {"affinity": {"placementAntiAffinity": [term]}})
    assert [choice.target for choice in near.proposal.selected] == ["root/b"]
    assert [choice.target for choice in far.proposal.selected] == ["root/a"]


async def test_a_message_ahead_of_the_inventory_waits_for_it_and_no_longer_than_the_bound() -> None:
    async with running(catch_up_seconds=0.05) as lab:
        revision = await lab.offer(target("a"))
        with pytest.raises(Retry, match="not yet at"):
            await lab.propose("a", revision + 1)
    async with running() as lab:
        waiting = asyncio.create_task(lab.propose("a", 1))
        await asyncio.sleep(0)
        await lab.offer(target("a"))
        assert (await waiting).proposal.selected


@pytest.mark.parametrize(
    ("wrong", "code", "stage"),
    [
        ({"error": "no workload"}, "InvalidPlacement", "scheduler"),
        ({"policy": "bad rule"}, "InvalidPolicy", "policy"),
    ],
)
async def test_what_is_wrong_with_the_request_passes_through(wrong, code, stage) -> None:
    async with running() as lab:
        message = Evaluated(
            request=request(error=wrong.get("error", "")),
            targets=(),
            inventory_revision=99,
            error=wrong.get("policy", ""),
        )
        refusal = (await propose(message, lab.scheduler)).proposal.refusal
        assert refusal is not None
        assert (refusal.code, refusal.stage) == (code, stage)


def test_the_worker_declares_what_it_takes_and_gives() -> None:
    assert (worker.consumes, worker.emits) == ((Evaluated,), (Scheduled,))


async def test_turns_go_round_by_workspace_and_by_priority_within_one() -> None:
    turns, order = WorkspaceTurns(), []

    async def handle(name: str, workspace: str, priority: int) -> None:
        await turns.take(workspace, priority)
        order.append(name)

    burst = [("a1", "a", 0), ("a2", "a", 0), ("a3", "a", 0), ("b1", "b", 0), ("b2", "b", 0), ("urgent", "a", 9)]
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        for each in burst:
            tasks.create_task(handle(*each))
    assert order == ["urgent", "b1", "a1", "b2", "a2", "a3"]


async def test_a_turn_that_nobody_waits_for_any_more_is_passed_on() -> None:
    turns = WorkspaceTurns()
    gone, there = (asyncio.create_task(turns.take("a", 0)) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    async with asyncio.timeout(5):
        await there
