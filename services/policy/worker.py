"""Consumes Discovered, emits Evaluated. Follows the inventory and the policies in force."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.policy.settings import PolicySettings
from shared.bus import Retry
from shared.messages import Discovered, Evaluated
from shared.model import PolicyEntry, Target
from shared.state import INVENTORY, POLICIES, View
from shared.worker import Worker

if TYPE_CHECKING:
    from services.policy.cel.engine import Engine
    from shared.runner import Runtime

RETRY_SECONDS = 0.5


@dataclass(frozen=True)
class Policy:
    """What the handler works with."""

    inventory: View[Target]
    policies: View[PolicyEntry]
    engine: "Engine"
    clock: Callable[[], float]
    behind_seconds: float


@asynccontextmanager
async def open_policy(runtime: "Runtime") -> AsyncIterator[Policy]:
    """Follow what the rules are about. celpy and NumPy are loaded here, not by whoever only reads declarations."""
    from services.policy.cel.engine import Engine

    yield Policy(
        inventory=await runtime.follow(INVENTORY),
        policies=await runtime.follow(POLICIES),
        engine=Engine(),
        clock=runtime.clock,
        behind_seconds=runtime.settings.behind_seconds,
    )


worker = Worker("policy", "Evaluates CEL rules over the discovered targets", settings=PolicySettings, open=open_policy)


@worker.handles()
async def evaluate(message: Discovered, deps: Policy) -> Evaluated:
    """Judge the discovered targets, by an inventory and by policies at least as new as the message."""
    from services.policy import stage

    for view, revision in (
        (deps.inventory, message.inventory_revision),
        (deps.policies, message.request.policy_revision),
    ):
        if not await view.reached(revision, deps.behind_seconds):
            raise Retry(RETRY_SECONDS, f"has not seen revision {revision} yet (is at {view.revision})")
    inventory = {entry.value.id: entry.value for entry in deps.inventory.entries.values()}
    policies = [entry.value for entry in deps.policies.entries.values()]
    return await stage.evaluate(message, inventory, policies, deps.engine, deps.clock())
