"""The worker: it follows inventory and policies, waits for those that a message was made from, and answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from services.policy.settings import PolicySettings
from services.policy.worker import Policy, evaluate, open_policy, worker
from shared.api import PlacementPolicySpec, PlacementSpec, Rule, WorkloadSelector
from shared.bus import Retry
from shared.memory_bus import MemoryBus
from shared.memory_state import MemoryStore
from shared.messages import Discovered, Evaluated
from shared.model import Cause, Head, PlacementRef, PolicyEntry, Request, Target
from shared.runner import Runtime
from shared.state import BUCKETS, INVENTORY, POLICIES, Table
from shared.tokens import join


class Lab:
    """A running policy worker over state in memory."""

    def __init__(self, store: MemoryStore, policy: Policy) -> None:
        self.inventory = Table(store, INVENTORY)
        self.policies = Table(store, POLICIES)
        self.policy = policy

    async def offer(self, name: str, **fields: Any) -> int:
        return await self.inventory.put(join("root", name), Target(workspace="root", name=name, **fields))

    async def rule(self, expression: str) -> int:
        spec = PlacementPolicySpec(rules=(Rule(name="r", expression=expression),))
        return await self.policies.put(join("root", "p"), PolicyEntry(workspace="root", name="p", spec=spec))

    async def evaluate(self, *names: str, revision: int = 0, policy_revision: int = 0) -> Evaluated:
        request = Request(
            placement=PlacementRef(workspace="root:shop", namespace="default", name="cart"),
            head=Head(uid="u", generation=1, attempt=1),
            cause=Cause(code="Created"),
            spec=PlacementSpec(workload=(WorkloadSelector(api_version="v1", kind="Pod", name="cart"),)),
            policy_revision=policy_revision,
        )
        targets = tuple(f"root/{name}" for name in names)
        return await evaluate(Discovered(request=request, targets=targets, inventory_revision=revision), self.policy)


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Lab]:
    store = MemoryStore()
    await store.provision(BUCKETS)
    async with asyncio.TaskGroup() as tasks:
        runtime = Runtime(PolicySettings(**settings), MemoryBus(), store, tasks, clock=lambda: 1_800_000_000.0)
        async with open_policy(runtime) as policy:
            yield Lab(store, policy)
        await runtime.end()


def test_the_declaration() -> None:
    assert (worker.consumes, worker.emits) == ((Discovered,), (Evaluated,))


async def test_it_judges_by_what_the_message_was_made_from() -> None:
    async with running() as lab:
        revision = await lab.offer("a", ready=True)
        policies = await lab.rule("target.ready")
        assert (await lab.evaluate("a", revision=revision, policy_revision=policies)).targets == ("root/a",)
        revision = await lab.offer("a", ready=False)
        revision = await lab.offer("b", ready=True)
        result = await lab.evaluate("a", "b", revision=revision, policy_revision=policies)
        assert result.targets == ("root/b",)


async def test_it_forgets_a_target_that_is_gone() -> None:
    async with running() as lab:
        await lab.offer("a")
        await lab.evaluate("a", revision=await lab.offer("b"))
        revision = await lab.inventory.delete(join("root", "a"))
        result = await lab.evaluate("a", "b", revision=revision)
        assert (result.targets, [each.reason for each in result.rejections]) == (("root/b",), ["TargetGone"])


@pytest.mark.parametrize("behind", ["revision", "policy_revision"])
async def test_it_asks_for_another_delivery_when_it_is_behind(behind: str) -> None:
    async with running(behind_seconds=0.05) as lab:
        with pytest.raises(Retry, match="has not seen revision 99 yet"):
            await lab.evaluate(**{behind: 99})


async def test_rules_that_are_not_provably_cheap_are_answered_too() -> None:
    numbers = "[" + ", ".join(map(str, range(60))) + "]"
    async with running() as lab:
        revision = await lab.offer("a", nodes=3)
        policies = await lab.rule(f"{numbers}.map(x, x + 1).exists(x, x == target.nodes)")
        assert (await lab.evaluate("a", revision=revision, policy_revision=policies)).targets == ("root/a",)
        assert len(lab.policy.engine._isolation._idle) == 1
