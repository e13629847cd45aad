"""What admission finds: place, words, nearest known name."""

import pytest

from services.policy.cel.admission import check
from services.policy.cel.program import Programs, compile_rule
from services.policy.core import InForce
from services.policy.language.diagnostics import InvalidExpression
from services.policy.preview import Trials, example_request, plan
from shared.api import LabelSelector, PlacementPolicySpec, Rule, Variable
from shared.model.policy import PolicyEntry
from shared.model.target import Target


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("targt.ready", "line 1, column 1: undeclared name `targt` (did you mean `target`?)"),
        ("target.redy", "line 1, column 8: `target` has no field `redy` (did you mean `ready`?)"),
        (
            "true &&\n  hasLable(target, 'x')",
            "line 2, column 3: undeclared function `hasLable` (did you mean `hasLabel`?)",
        ),
        (
            "target.name.startWith('a')",
            "line 1, column 13: undeclared function `startWith` (did you mean `startsWith`?)",
        ),
        ("target.name", "line 1, column 1: the result is string, not bool"),
        ("target.nodes", "line 1, column 1: the result is int, not bool"),
        ("variables.regio == 'a'", "line 1, column 11: undeclared variable `variables.regio` (did you mean `region`?)"),
        ("target.hasLabel()", "line 1, column 8: `hasLabel` does not take 1 arguments (target.hasLabel"),
        ("size(1, 2) == 1", "line 1, column 1: `size` does not take 2 arguments"),
        ("target.name + 1 == 'x'", "line 1, column 13: `+` does not take (string, int)"),
        (
            'target.capacity["cpu"] > 4',
            "line 1, column 24: `>` does not take (double, int) (numbers of one kind only: write 1.0 beside a double",
        ),
        (
            "capacity(target, 3) > 1.0",
            "line 1, column 9: `capacity` does not take (Target, int) (for example capacity(",
        ),
        (
            "target.taints.exists(t, t.efect == 'x')",
            "line 1, column 26: Taint has no field `efect` (did you mean `effect`?)",
        ),
    ],
)
def test_findings_say_where_what_and_the_nearest_name(expression: str, said: str) -> None:
    with pytest.raises(InvalidExpression) as refused:
        compile_rule(expression, (("region", "target.labels.region"),))
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize(
    "expression",
    [
        "target.ready",
        'requested("cpu") < 3.0 && workload.requested("cpu") < 3.0',
        'workspace.inWorkspace("root") || inWorkspace(target, workspace)',
        "has(target.cost) && target.cost.perCpuHour < 0.1",
        "workload.exists(o, has(o.replicas) && o.replicas > 3)",
        "now > timestamp('2026-01-01T00:00:00Z') && now.getHours() < 12",
        "request.groups.exists(g, g == 'devs') && 'devs' in request.groups",
        "target.apis.exists(a, a.kind == 'Pod' && 'v1' in a.versions)",
        "variables.region == 'eu'",
        "target.scores.sla > 50.0 ? true : target.nodes > 3",
        "target.labels.all(k, k.size() < 64) // a comment",
    ],
)
def test_good_rules_pass(expression: str) -> None:
    compile_rule(expression, (("region", "target.labels.region"),))


def policy(*rules: Rule, **fields: object) -> PlacementPolicySpec:
    return PlacementPolicySpec(rules=rules, **fields)  # type: ignore[arg-type]


def test_every_expression_of_a_policy_is_checked() -> None:
    found = check(
        policy(
            Rule(name="a", expression="1 +"),
            Rule(name="b", expression="target.ready", message_expression="target.nodes"),
            Rule(name="c", expression="targett.ready || nodes == 1"),
        )
    )
    assert [each.where for each in found] == [
        "rules[a].expression",
        "rules[b].messageExpression",
        "rules[c].expression",
        "rules[c].expression",
    ]


def test_a_broken_variable_is_reported_once() -> None:
    variables = (Variable(name="x", expression="target.nodes"), Variable(name="y", expression="variables.z"))
    found = check(policy(Rule(name="a", expression="variables.y == 1"), variables=variables))
    assert [str(each) for each in found] == [
        "variables[y].expression: line 1, column 11: undeclared variable `variables.z`"
    ]


def test_what_does_not_compile_is_remembered_and_the_cache_is_bounded() -> None:
    programs = Programs(weight=2 * 4_200)
    first = programs.get("target.ready")
    assert programs.get("target.ready") is first
    for _ in range(2):
        with pytest.raises(InvalidExpression):
            programs.get("target.redy")
    programs.get("true")
    assert programs.get("target.ready") is not first


async def test_the_plan_names_tier_reason_and_what_is_read() -> None:
    rules = (
        Rule(name="columns", expression='target.labels["zone"] == workspace'),
        Rule(name="memo", expression='target.taints.exists(t, t.key == "x")'),
        Rule(name="target", expression="size(dyn(target)) > 3"),
    )
    planned = await plan(InForce("p", "", rules))
    assert [(each.rule, each.method, each.reads) for each in planned] == [
        ("columns", "columns", ("target.labels.zone", "workspace")),
        ("memo", "memo", ("target.taints",)),
        ("target", "target", ("target",)),
    ]
    assert "exists() looks at each element" in planned[1].why


async def test_rules_are_tried_on_targets() -> None:
    selector = LabelSelector(match_labels={"tier": "gold"})
    rules = (Rule(name="eu", expression='target.labels.region == "eu"'),)
    targets = [
        Target(workspace="", name="b", labels={"tier": "gold"}),
        Target(workspace="", name="a", labels={"tier": "gold", "region": "eu"}),
        Target(workspace="", name="c"),
    ]
    policy = PolicyEntry(workspace="", name="p", spec=PlacementPolicySpec(rules=rules, target_selector=selector))
    async with Trials(targets) as trials:
        assessments = await trials.assess(example_request(), ["/a", "/b", "/c"], [policy], 0.0)
    assert [(each.target, each.outcome, each.error) for assessed in assessments for each in assessed.rules] == [
        ("/a", "t", ""),
        ("/b", "e", "no such key: 'region'"),
        ("/c", "-", ""),
    ]
