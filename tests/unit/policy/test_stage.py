"""The stage from message to message, with celpy at work."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from services.policy.cel.engine import Engine
from services.policy.cel.isolation import Isolation
from services.policy.evaluation.columns import TargetColumns
from services.policy.stage import MOST_RULES, evaluate
from shared.api import (
    LabelSelector,
    PlacementPolicySpec,
    PlacementSpec,
    PolicyExceptionSpec,
    PolicyMatch,
    Rule,
    Variable,
    WorkloadSelector,
)
from shared.model.policy import Exemption, PolicyEntry
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


async def run(message: Discovered, *policies: PolicyEntry, unchecked: tuple[str, ...] = ()) -> Evaluated:
    inventory, isolation = TargetColumns(), Isolation(deadline=20.0)
    inventory.update(INVENTORY)
    try:
        return await evaluate(message, inventory, policies, Engine(isolation), NOW, unchecked=unchecked)
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


SURROGATE = Rule(name="surrogate", expression=r'target.name.matches("\ud800")')


async def test_a_rule_that_cannot_be_evaluated_harms_no_other() -> None:
    result = await run(
        discovered(),
        policy("root:shop", "dry", SURROGATE, enforcement="DryRun", failure_policy="Ignore"),
        policy("root:shop", "eu", EU),
    )
    assert result.targets == ("root:platform/a", "root:platform/c")
    assert [(rule.rule, rule.outcomes) for rule in result.rules] == [("surrogate", "ee"), ("eu", "tt")]


async def test_what_nobody_expected_of_a_rule_is_its_own_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    unexpected = (UnicodeEncodeError("utf-8", "x", 0, 1, "secret"), RecursionError(), MemoryError(), KeyError("secret"))
    for error in unexpected:

        def fail(*_: Any, error: Exception = error) -> Any:
            raise error

        monkeypatch.setattr("services.policy.evaluation.vector.Vectoriser.outcomes", fail)
        result = await run(discovered(), policy("root", "p", EU, enforcement="DryRun"))
        assert len(result.targets) == 3
        assert result.rules[0].message == f"cannot be evaluated ({type(error).__name__})"


async def test_the_facts_that_decide_are_told_and_no_others() -> None:
    version = Rule(name="new", expression='target.kubernetesVersion != "v1.20.0"', effect="Require")
    free = Rule(name="free", expression='available(target, "cpu") > 1.0 && target.nodes > 0', effect="Require")
    forbid = Rule(name="cordoned", expression="target.unschedulable", effect="Forbid")
    selecting = LabelSelector(match_labels={"tier": "gold"})
    tried = policy("root:shop", "tried", forbid, enforcement="DryRun")
    result = await run(discovered(EU, BIG), policy("root", "all", version, free, target_selector=selecting), tried)
    assert result.facts == ("kubernetesVersion", "labels.region", "labels.tier", "nodes")
    assert (await run(discovered(BIG))).facts == ()


async def test_a_policy_that_could_not_be_checked_is_not_evaluated() -> None:
    heavy = policy("root", "heavy", Rule(name="no", expression="false"), failure_policy="Ignore")
    result = await run(discovered(), heavy, unchecked=("root/heavy",))
    assert len(result.targets) == 3
    assert (result.rules[0].outcomes, result.rules[0].message[:33]) == ("eee", "its policy could not be checked w")


async def test_more_rules_than_may_hold_for_a_placement_are_refused() -> None:
    many = [Rule(name=f"r{n}", expression="true") for n in range(64)]
    policies = [policy("root", f"p{n}", *many) for n in range(MOST_RULES // 64)]
    assert len((await run(discovered(), *policies)).rules) == MOST_RULES
    result = await run(discovered(EU), *policies)
    assert (result.targets, result.error) == ((), f"more than {MOST_RULES} policy rules hold for it")


async def test_all_rules_see_one_state_of_the_inventory_however_many_turns_they_take() -> None:
    count = 5_000
    made = {each.id: each for each in (target(f"t{n}", nodes=1) for n in range(count))}
    inventory, isolation = TargetColumns(), Isolation(deadline=20.0)
    inventory.update(made)
    engine = Engine(isolation)
    rules = [Rule(name=f"r{n}", expression=f'target.nodes == 1 || target.hasLabel("{n}")') for n in range(40)]
    for rule in rules:
        await engine.compile(rule.expression, (), "root")
    judging = asyncio.create_task(
        evaluate(discovered(targets=tuple(made)), inventory, [policy("root", "p", *rules)], engine, NOW)
    )
    changed = next(iter(made))
    for _ in range(6):  # passes of the loop: some rules have begun by then, and not all
        await asyncio.sleep(0)
    assert not judging.done()
    inventory.update({changed: target("t0", nodes=2)})
    result = await judging
    assert result.targets == tuple(each for each in made if each != changed)
    assert {each.evaluated - each.matched for each in result.rules} == {1}
    await isolation.close()


# --- exemptions -------------------------------------------------------------------------------------------------------


def exempting(*rules: str, expires: float = NOW + 1, **match: Any) -> Exemption:
    spec = PolicyExceptionSpec(
        policy="p",
        rules=rules,
        match=PolicyMatch(**(match or {"namespaces": ("default",)})),
        reason="it moves next month",
        expires_at="2027-01-15T08:00:01Z",
    )
    return Exemption(name="lift", expires=expires, spec=spec)


def with_exemption(entry: PolicyEntry, *exemptions: Exemption) -> PolicyEntry:
    return msgspec.structs.replace(entry, exemptions=exemptions)


NO_A = Rule(name="no-a", expression='target.name == "a"', effect="Forbid")


async def test_a_rule_that_somebody_is_exempt_from_is_evaluated_told_and_does_not_count() -> None:
    entry = with_exemption(policy("root", "p", EU, NO_A, BIG), exempting("eu", "big"))
    result = await run(discovered(), entry)
    assert result.targets == ("root:platform/b", "root:platform/c")
    assert result.scores == ()
    found = {each.rule: (each.outcomes, each.enforced, each.exemption) for each in result.rules}
    assert found == {"no-a": ("ff", True, ""), "eu": ("ft", False, "lift"), "big": ("ft", False, "lift")}
    (warning,) = result.warnings
    assert warning.message == "exempt from root/p/eu by lift: must be in the EU"
    assert warning.targets == ("root:platform/b",)


@pytest.mark.parametrize(
    "exemption",
    [
        exempting(expires=NOW),
        exempting("another"),
        exempting(namespaces=("other",)),
        exempting(workspaces=("root:shop:we",)),
    ],
    ids=["expired", "another rule", "another namespace", "another workspace"],
)
async def test_what_is_granted_to_others_or_no_longer_changes_nothing(exemption: Exemption) -> None:
    plain = policy("root", "p", EU, BIG)
    assert await run(discovered(), with_exemption(plain, exemption)) == await run(discovered(), plain)


async def test_an_exemption_from_all_rules_also_helps_against_rules_that_fail() -> None:
    broken = policy("root", "p", Rule(name="r", expression="target.gone"))
    assert (await run(discovered(), broken)).targets == ()
    result = await run(discovered(), with_exemption(broken, exempting()))
    assert result.targets == tuple(INVENTORY)


async def test_of_a_policy_that_only_warns_nobody_who_is_exempt_is_warned() -> None:
    warning = policy("root", "p", EU, enforcement="Warn")
    assert (await run(discovered(), warning)).warnings
    assert not (await run(discovered(), with_exemption(warning, exempting()))).warnings
