"""The stage from message to message, with celpy at work."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from services.policy.cel.engine import Engine
from services.policy.cel.isolation import Isolation
from services.policy.evaluation.columns import TargetColumns
from services.policy.stage import evaluate
from shared.api import LabelSelector, PlacementPolicySpec, PlacementSpec, Rule, Variable, WorkloadSelector
from shared.model.policy import PolicyEntry
from shared.model.refs import Head, PlacementRef
from shared.model.request import Cause, Request
from shared.model.target import Target
from shared.pipeline.messages import Discovered, Evaluated

NOW = 1_800_000_000.0
WORKLOAD = (WorkloadSelector(api_version="apps/v1", kind="Deployment", name="cart"),)


def target(name: str, region: str = "eu", **fields: Any) -> Target:
    return Target(workspace="root:platform", name=name, labels={"region": region}, ready=True, **fields)


INVENTORY = {each.id: each for each in (target("a"), target("b", region="us"), target("c", capacity={"cpu": 64.0}))}


def discovered(*policies: Rule, targets: tuple[str, ...] = tuple(INVENTORY), **fields: Any) -> Discovered:
    request = Request(
        placement=PlacementRef(workspace="root:shop:web", namespace="default", name="cart"),
        head=Head(uid="u", generation=1, attempt=1),
        cause=Cause(code="Created"),
        spec=PlacementSpec(workload=WORKLOAD, policies=policies),
        **fields,
    )
    return Discovered(request=request, targets=targets, inventory_revision=7)


def policy(workspace: str, name: str, *rules: Rule, **fields: Any) -> PolicyEntry:
    return PolicyEntry(workspace=workspace, name=name, spec=PlacementPolicySpec(rules=rules, **fields))


async def run(message: Discovered, *policies: PolicyEntry) -> Evaluated:
    inventory, isolation = TargetColumns(), Isolation(deadline=20.0)
    inventory.update(INVENTORY)
    try:
        return await evaluate(message, inventory, policies, Engine(isolation), NOW)
    finally:
        await isolation.close()


EU = Rule(name="eu", expression='target.labels["region"] == "eu"', message="must be in the EU")
BIG = Rule(name="big", expression='capacity(target, "cpu") > 32.0', effect="Prefer", weight=40)


async def test_without_rules_every_target_survives_unscored() -> None:
    result = await run(discovered())
    assert (result.targets, result.scores, result.rules, result.error) == (tuple(INVENTORY), (), (), "")
    assert result.inventory_revision == 7


async def test_a_require_rule_rejects_by_its_message() -> None:
    result = await run(discovered(EU))
    assert result.targets == ("root:platform/a", "root:platform/c")
    (rejection,) = result.rejections
    assert (rejection.reason, rejection.message, rejection.targets) == (
        "PolicyRequires",
        "must be in the EU",
        ("root:platform/b",),
    )
    assert result.rules[0].outcomes == "tt"


async def test_preferences_score_what_survives() -> None:
    result = await run(discovered(EU, BIG))
    assert result.scores == (0.0, 100.0)


async def test_a_target_that_is_gone_is_rejected() -> None:
    result = await run(discovered(targets=("root:platform/a", "root:platform/zzz")))
    assert result.targets == ("root:platform/a",)
    assert (result.rejections[0].reason, result.rejections[0].stage) == ("TargetGone", "policy")


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("target.labels[", "policy rule broken is invalid at line 1, column 14: `[` is never closed"),
        ("true &&\n  && true", "policy rule broken is invalid at line 2, column 3: syntax error near `&&`"),
        ("true &&", "policy rule broken is invalid at line 1, column 8: the expression ends too early"),
    ],
)
async def test_an_invalid_inline_rule_is_one_sentence_with_its_place(expression: str, said: str) -> None:
    result = await run(discovered(Rule(name="broken", expression=expression)))
    assert (result.targets, result.error) == ((), said)


async def test_policies_of_ancestors_hold_and_those_of_others_do_not() -> None:
    result = await run(
        discovered(),
        policy("root:shop", "above", EU),
        policy("root:shop:api", "beside", Rule(name="no", expression="false")),
        policy("root:shop:web:x", "below", Rule(name="no", expression="false")),
        policy("root:sho", "prefix", Rule(name="no", expression="false")),
    )
    assert len(result.targets) == 2
    assert [rule.policy for rule in result.rules] == ["root:shop/above"]


async def test_the_policys_selectors_limit_placements_and_targets() -> None:
    labelled = {"labels": {"tier": "gold"}}
    gold = LabelSelector(match_labels={"tier": "gold"})
    us = LabelSelector(match_labels={"region": "us"})
    no = Rule(name="no", expression="false")
    chosen = policy("root", "gold", no, placement_selector=gold, target_selector=us)
    assert len((await run(discovered(), chosen)).targets) == 3
    result = await run(discovered(**labelled), chosen)
    assert result.targets == ("root:platform/a", "root:platform/c")
    assert result.rules[0].outcomes == "--"


@pytest.mark.parametrize(("failure_policy", "survivors", "reasons"), [("Fail", 0, ["PolicyError"]), ("Ignore", 3, [])])
async def test_an_error_is_decided_by_the_failure_policy(
    failure_policy: str, survivors: int, reasons: list[str]
) -> None:
    rule = Rule(name="zone", expression='target.labels["zone"] == "1"')
    result = await run(discovered(), policy("root", "p", rule, failure_policy=failure_policy))
    assert len(result.targets) == survivors
    assert [rejection.reason for rejection in result.rejections] == reasons
    assert (result.rules[0].errors, result.rules[0].message) == (3, "no such key: 'zone'")


@pytest.mark.parametrize(("failure_policy", "survivors"), [("Fail", 0), ("Ignore", 3)])
async def test_an_invalid_rule_of_a_policy_does_not_stop_the_placement(failure_policy: str, survivors: int) -> None:
    result = await run(
        discovered(), policy("root", "p", Rule(name="x", expression="1 +"), failure_policy=failure_policy)
    )
    assert (len(result.targets), result.error) == (survivors, "")
    assert result.rules[0].message == "invalid at line 1, column 4: the expression ends too early"


@pytest.mark.parametrize("enforcement", ["DryRun", "Warn"])
async def test_rules_that_are_not_enforced_only_record(enforcement: str) -> None:
    result = await run(discovered(), policy("root", "p", EU, BIG, enforcement=enforcement))
    assert (len(result.targets), result.scores, result.rejections) == (3, (), ())
    assert [(rule.outcomes, rule.enforced) for rule in result.rules] == [("tft", False), ("fft", False)]


async def test_forbid_is_reported_before_require() -> None:
    forbid = Rule(name="never", expression='target.name == "b"', effect="Forbid", message="closed")
    result = await run(discovered(EU), policy("root", "p", forbid))
    assert [(rejection.reason, rejection.message) for rejection in result.rejections] == [("PolicyForbids", "closed")]


async def test_variables_of_a_policy_build_on_each_other() -> None:
    variables = (
        Variable(name="region", expression='target.labels["region"]'),
        Variable(name="eu", expression='variables.region == "eu"'),
    )
    rule = Rule(name="r", expression="variables.eu && requested('cpu') == 0.0")
    result = await run(discovered(), policy("root", "p", rule, variables=variables))
    assert result.rules[0].outcomes == "tt"


NUMBERS = "[" + ", ".join(map(str, range(60))) + "]"


@pytest.mark.parametrize(
    "expression",
    ['target.labels["region"] == "eu"', f'{NUMBERS}.map(x, x + 1).exists(x, x > 9 && target.labels["region"] == "eu")'],
    ids=["here", "in a child"],
)
async def test_a_message_expression_gives_each_target_its_own_words(expression: str) -> None:
    words = 'target.name + " is in " + target.labels["region"]'
    narrow = policy(
        "root",
        "p",
        Rule(name="eu", expression=expression, message_expression=words),
        target_selector=LabelSelector(match_labels={"region": "us"}),
    )
    result = await run(discovered(Rule(name="eu", expression=expression, message_expression=words)), narrow)
    assert [rejection.message for rejection in result.rejections] == ["b is in us"]
    assert result.rules[1].outcomes == "--"
    assert (result.rules[1].evaluated, result.rules[1].matched) == (1, 0)
    result = await run(discovered(), narrow)
    assert [(each.message, each.targets) for each in result.rejections] == [("b is in us", ("root:platform/b",))]


HOSTILE = Rule(
    name="r", expression="{0}.all(a, {0}.map(b, a + b).all(c, c + target.nodes >= 0))".format(list(range(150)))
)
ISOLATED = Rule(name="ok", expression="[1, 2].map(x, x + 1).exists(x, x > target.nodes)")
MANY = {f"w/{n}": Target(workspace="w", name=str(n), nodes=n) for n in range(400)}


@asynccontextmanager
async def judging(deadline: float) -> AsyncIterator[Callable[[str, Rule], Awaitable[Evaluated]]]:
    """Judges many targets by a rule of a workspace; its rules have so many seconds."""
    inventory, isolation = TargetColumns(), Isolation(children=2, deadline=deadline)
    inventory.update(MANY)
    engine = Engine(isolation)
    message = discovered(targets=tuple(MANY))
    try:
        yield lambda workspace, rule: evaluate(message, inventory, [policy(workspace, "p", rule)], engine, NOW)
    finally:
        await isolation.close()


@pytest.mark.long
async def test_a_hostile_tenant_holds_up_nobody_else_however_long_it_takes() -> None:
    async with judging(deadline=600.0) as judge:
        hostile = [asyncio.ensure_future(judge("root", HOSTILE)) for _ in range(10)]
        await asyncio.sleep(0)
        result = await judge("root:shop", ISOLATED)
        assert not any(each.done() for each in hostile)
        assert (len(result.targets), result.rules[0].errors) == (3, 0)
        for each in hostile:
            each.cancel()
        await asyncio.wait(hostile)


@pytest.mark.long
async def test_rules_of_a_hostile_tenant_fail_at_their_deadline() -> None:
    async with judging(deadline=0.2) as judge:
        for result in await asyncio.gather(*(judge("root", HOSTILE) for _ in range(10))):
            assert result.rules[0].errors > 0
