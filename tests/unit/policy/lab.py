"""A policy worker to experiment with, over state in memory."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.policy.cel import standard
from services.policy.cel.calls import answers
from services.policy.cel.program import node_of, prepare
from services.policy.settings import PolicySettings
from services.policy.worker import Policy, evaluate, open_policy
from shared.api import PlacementPolicySpec, PlacementSpec, Rule, WorkloadSelector
from shared.broker.memory.bus import MemoryBus
from shared.broker.memory.store import MemoryStore
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.model.policy import PolicyCheck, PolicyEntry
from shared.model.refs import Head, PlacementRef
from shared.model.request import Cause, Request
from shared.model.target import Target
from shared.pipeline.buckets import BUCKETS, CHECKS, INVENTORY, POLICIES
from shared.pipeline.messages import Discovered, Evaluated
from shared.pipeline.runtime import Runtime

POLICY = join("root", "p")
BOUND = 30.0  # seconds that a test waits for a condition at most


def answer(expression: str, variables: dict[str, Any]) -> tuple[str, str]:
    """What the engine says of an expression that was neither linted nor type-checked: outcome, and what went wrong."""
    program = prepare(node_of(expression), expression)
    found, failed = answers(program.calls, variables)
    return standard.outcome_of(program.compiled, {**variables, **found}, failed)


@dataclass(frozen=True)
class SlowStart:
    """A command for children that do not start before they are let go."""

    command: Sequence[str]
    gate: Path

    async def let_go(self) -> None:
        """Let one child start that waits to."""
        await asyncio.to_thread(self.gate.write_text, "")


def slow_start(folder: Path) -> SlowStart:
    """Children that wait at a named pipe in a folder."""
    gate = folder / "gate"
    os.mkfifo(gate)
    run = "runpy.run_module('services.policy.cel.child', run_name='__main__')"
    wait = f"import runpy, sys; open(sys.argv[1]).close(); {run}"
    return SlowStart((sys.executable, "-c", wait, str(gate)), gate)


class Lab:
    """A running policy worker over state in memory."""

    def __init__(self, store: MemoryStore, policy: Policy) -> None:
        self.inventory = Table(store, INVENTORY)
        self.policies = Table(store, POLICIES)
        self.checks = Table(store, CHECKS)
        self.policy = policy

    async def offer(self, name: str, **fields: Any) -> int:
        return await self.inventory.put(join("root", name), Target(workspace="root", name=name, **fields))

    async def rule(self, expression: str, generation: int = 1, uid: str = "u") -> int:
        """A policy `p` of one rule `r`, in the workspace `root`."""
        spec = PlacementPolicySpec(rules=(Rule(name="r", expression=expression),))
        entry = PolicyEntry(workspace="root", name="p", uid=uid, generation=generation, spec=spec)
        return await self.policies.put(POLICY, entry)

    async def check(self, holds: Callable[[PolicyCheck | None], bool]) -> PolicyCheck | None:
        """The record of that policy, as soon as a condition holds of it."""
        view = self.checks.follow()
        following = asyncio.create_task(view.run())
        try:
            async with asyncio.timeout(BOUND):
                await view.synced.wait()
                while not holds(view.get(POLICY)):
                    await view.moved(view.revision)
        finally:
            following.cancel()
        return view.get(POLICY)

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
async def running(store: MemoryStore | None = None, **settings: Any) -> AsyncIterator[Lab]:
    store = store or MemoryStore()
    await store.provision(BUCKETS)
    async with asyncio.TaskGroup() as tasks:
        runtime = Runtime(PolicySettings(**settings), MemoryBus(), store, tasks, clock=lambda: 1_800_000_000.0)
        async with open_policy(runtime) as policy:
            yield Lab(store, policy)
        await runtime.end()
