"""Warming up, so that the first message need not wait: the grammar, the type checker, NumPy, a child process."""

import asyncio
import contextlib

from services.policy import stage
from services.policy.cel.engine import INLINE_COST, Engine
from services.policy.cel.isolation import Isolation, Unavailable
from services.policy.evaluation.columns import TargetColumns
from services.policy.preview import example_request, example_target
from shared.api import PlacementPolicySpec, Rule, Variable
from shared.model.policy import PolicyEntry
from shared.pipeline.messages import Discovered

RULES = (
    Rule(name="columns", expression='variables.region.startsWith("eu") && utilization(target, "cpu") < 0.7'),
    Rule(
        name="memo",
        expression='!target.taints.exists(t, t.effect == "NoExecute")',
        effect="Forbid",
        message_expression='"not in " + variables.region',
    ),
)
REGION = Variable(name="region", expression='target.labels["region"]')


async def warm_up(isolation: Isolation, inline_cost: float = INLINE_COST) -> None:
    """Evaluate an example in this process, while a child starts.

    On a busy machine the example may take so long that it is left to the child, and that may not come up in time. Then
    the first message has to wait for it, and the worker begins all the same.
    """
    starting = asyncio.create_task(isolation.warm())
    await asyncio.sleep(0)  # let it begin: what follows does not yield
    target = example_target()
    inventory = TargetColumns()
    inventory.update({target.id: target})
    example = PolicyEntry(workspace="root", name="example", spec=PlacementPolicySpec(rules=RULES, variables=(REGION,)))
    message = Discovered(request=example_request(), targets=(target.id,), inventory_revision=0)
    with contextlib.suppress(Unavailable):  # it is logged by the child's own warming
        await stage.evaluate(message, inventory, [example], Engine(isolation, inline_cost), 0.0)
    await starting
