"""Consumes Discovered, emits Evaluated. Follows the inventory and the policies in force."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.policy.settings import PolicySettings
from shared.broker.bus import Retry
from shared.broker.table import Entry, View
from shared.model.policy import PolicyEntry
from shared.model.target import Target
from shared.pipeline.buckets import CHECKS, INVENTORY, POLICIES, POLICY_COPIES
from shared.pipeline.messages import Discovered, Evaluated
from shared.pipeline.worker import Worker

if TYPE_CHECKING:
    from services.policy.cel.engine import Engine
    from services.policy.checks import Checks
    from services.policy.evaluation.columns import TargetColumns
    from shared.pipeline.runtime import Runtime

RETRY_SECONDS = 0.5
UNAVAILABLE_SECONDS = 5.0
"""Until a message comes again for which there was no process to evaluate its rules in."""


@dataclass
class Policy:
    """Everything that the handler works with."""

    inventory: View[Target]
    policies: View[PolicyEntry]
    engine: "Engine"
    columns: "TargetColumns"
    checks: "Checks"
    clock: Callable[[], float]
    catch_up_seconds: float
    seen: dict[str, "Entry[Target]"] = field(default_factory=dict)
    changed: int = -1  # how much of the inventory's changes the columns have taken in

    def catch_up(self) -> None:
        """Take into the columns what the inventory's view has learnt since the last time."""
        if self.changed == self.inventory.changed:
            return
        self.changed = self.inventory.changed
        changes: dict[str, Target | None] = {}
        for key, entry in self.inventory.entries.items():
            if self.seen.get(key) is not entry:
                self.seen[key] = entry
                changes[entry.value.id] = entry.value
        if len(self.seen) > len(self.inventory.entries):
            for key in self.seen.keys() - self.inventory.entries.keys():
                gone = self.seen.pop(key).value.id
                changes.setdefault(gone, None)
        self.columns.update(changes)


@asynccontextmanager
async def open_policy(runtime: "Runtime") -> AsyncIterator[Policy]:
    """Follow what the rules are about. The engine and NumPy are loaded here, not by whoever only reads declarations."""
    from services.policy.cel.engine import Engine
    from services.policy.cel.isolation import Isolation
    from services.policy.checks import Checks
    from services.policy.evaluation.columns import TargetColumns
    from services.policy.warm import warm_up

    settings: PolicySettings = runtime.settings
    isolation = Isolation(
        children=settings.rule_processes, deadline=settings.rule_seconds, memory=settings.rule_memory_mib << 20
    )
    try:
        await warm_up(isolation)
        policies = await runtime.follow(POLICIES)
        checks = Checks(
            table=runtime.table(CHECKS), view=await runtime.follow(CHECKS), policies=policies, isolation=isolation
        )
        runtime.background(checks.follow(), "follow changes of policies")
        runtime.background(checks.work(), "check policies")
        yield Policy(
            inventory=await runtime.follow(INVENTORY),
            policies=policies,
            engine=Engine(isolation),
            columns=TargetColumns(),
            checks=checks,
            clock=runtime.clock,
            catch_up_seconds=settings.catch_up_seconds,
        )
    finally:
        await isolation.close()


worker = Worker(
    "policy",
    "Evaluates CEL rules over the discovered targets",
    settings=PolicySettings,
    open=open_policy,
    follows=(CHECKS, INVENTORY, POLICIES),
    copies=POLICY_COPIES,
)


@worker.answers()
@worker.handles(keep_superseded=True)  # they are few, and the scheduler drops them: not worth following all heads
async def evaluate(message: Discovered, deps: Policy) -> Evaluated:
    """Judge the discovered targets, by an inventory and by policies at least as new as the message."""
    from services.policy import stage
    from services.policy.cel.isolation import Unavailable

    for view, revision in (
        (deps.inventory, message.inventory_revision),
        (deps.policies, message.request.policy_revision),
    ):
        if not await view.reached(revision, deps.catch_up_seconds):
            raise Retry(RETRY_SECONDS, f"has not seen revision {revision} yet (is at {view.revision})")
    policies, in_force = dict(deps.policies.entries), list[PolicyEntry]()
    try:
        if policies:
            async with asyncio.timeout(deps.catch_up_seconds):
                in_force = await deps.checks.holding(policies, message.request.placement.workspace)
    except TimeoutError:
        raise Retry(RETRY_SECONDS, "it is not known yet whether a policy that changed compiles") from None
    deps.catch_up()
    revision = deps.inventory.revision
    try:
        evaluated = await stage.evaluate(
            message, deps.columns, in_force, deps.engine, deps.clock(), revision, deps.checks.untold(policies)
        )
    except Unavailable as error:
        raise Retry(UNAVAILABLE_SECONDS, str(error)) from error
    if message.question is None:
        deps.checks.count(policies, evaluated.rules)
    return evaluated


@worker.every(lambda settings: settings.count_seconds)
async def counts(deps: Policy) -> None:
    """Record what rules did."""
    await deps.checks.flush()
