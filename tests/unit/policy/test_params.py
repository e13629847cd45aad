"""Parameters: an object that expressions know as `params`, as if it were written in their place."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.policy.cel.admission import check, definitions_of
from services.policy.cel.engine import Engine
from services.policy.cel.isolation import Isolation
from services.policy.cel.program import compile_rule
from services.policy.cel.standard import evaluate as evaluated
from services.policy.evaluation.columns import TargetColumns
from services.policy.language.diagnostics import InvalidExpression
from services.policy.language.parameters import tree
from services.policy.language.syntax import Index, Literal, Select, walk
from services.policy.language.variables import PARAMS
from services.policy.stage import evaluate
from shared.api import ParamRef, PlacementPolicySpec, Rule, Variable
from shared.hub.parameters import MOST_BYTES, MOST_VALUES, parameters_of
from shared.model.policy import Parameters, PolicyEntry
from shared.pipeline.messages import Evaluated
from tests.unit.policy.test_stage import INVENTORY, NOW, discovered

REF = ParamRef(api_version="v1", kind="ConfigMap", namespace="rules", name="limits", parameter_not_found_action="Deny")
ALLOW = ParamRef(
    api_version="v1", kind="ConfigMap", namespace="rules", name="limits", parameter_not_found_action="Allow"
)
OBJECT: dict[str, Any] = {
    "metadata": {"name": "limits", "namespace": "rules", "uid": "u", "resourceVersion": "7", "managedFields": []},
    "data": {"region": "eu", "cpu": "32", "pattern": "^[ac]$", "bad": "(", "a-b": "dash"},
    "spec": {"names": ["a", "c"], "least": 3, "share": 0.5, "on": True, "off": None, "deep": {"er": [1, {"x": 2}]}},
}
NAMES = {each.name for each in INVENTORY.values()}


def policy(*expressions: str, ref: ParamRef = REF, params: Parameters | None = None, **spec: Any) -> PolicyEntry:
    rules = tuple(Rule(name=f"r{number}", expression=each) for number, each in enumerate(expressions))
    params = parameters_of(OBJECT, ref) if params is None else params
    spec = PlacementPolicySpec(rules=rules, param_ref=ref, **spec)
    return PolicyEntry(workspace="root", name="p", spec=spec, params=params)


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    isolation = Isolation(deadline=20.0)
    yield Engine(isolation)
    await isolation.close()


async def judged(engine: Engine, *policies: PolicyEntry) -> Evaluated:
    inventory = TargetColumns()
    inventory.update(INVENTORY)
    return await evaluate(discovered(), inventory, policies, engine, NOW)


async def kept(engine: Engine, *policies: PolicyEntry) -> set[str]:
    return {each.rpartition("/")[2] for each in (await judged(engine, *policies)).targets}


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('target.labels["region"] == params.data.region', "ac"),
        ("target.name in params.spec.names", "ac"),
        ('"cpu" in target.capacity && target.capacity["cpu"] > double(params.data.cpu)', "c"),
        ("target.name.matches(params.data.pattern)", "ac"),
        ("has(params.spec.least) && !has(params.spec.most)", "abc"),
        ("params.spec.?most.orValue(3) == params.spec.least", "abc"),
        ('params.data["a-b"] == "dash" && params.spec.names[1] == "c"', "abc"),
        ("params.spec.on && params.spec.off == null && params.spec.share == 0.5", "abc"),
        ("params.spec.deep.er[1].x == 2 && params.spec.deep.er.size() == 2", "abc"),
        ("params.spec.names.exists(each, each == target.name)", "ac"),
        ('params.kind == "ConfigMap" && params.metadata.name == "limits" && !has(params.metadata.uid)', "abc"),
        ("variables.limit == target.name", "a"),
    ],
)
async def test_rules_see_the_object(expression: str, names: str, engine: Engine) -> None:
    variables = (Variable(name="limit", expression="params.spec.names[0]"),)
    assert await kept(engine, policy(expression, variables=variables)) == set(names)


async def test_a_field_of_the_object_is_as_quick_as_if_it_were_written_there(engine: Engine) -> None:
    entry = policy('target.labels["region"] == params.data.region')
    definitions = ((PARAMS, entry.params.content),) if entry.params else ()
    program = compile_rule(entry.spec.rules[0].expression, definitions)
    assert program.text == compile_rule('target.labels["region"] == "eu"').text


async def test_a_change_of_the_object_takes_effect(engine: Engine) -> None:
    expression = 'target.labels["region"] == params.data.region'
    changed = {**OBJECT, "data": {"region": "us"}}
    assert await kept(engine, policy(expression)) == set("ac")
    assert await kept(engine, policy(expression, params=parameters_of(changed, REF))) == set("b")


async def test_what_the_object_does_not_have_is_an_error_of_the_rule(engine: Engine) -> None:
    found = await judged(engine, policy("params.data.nothing == target.name", 'params.data.region == "eu"'))
    assert [each.errors for each in found.rules] == [3, 0]
    assert "no such key: 'nothing'" in found.rules[0].message


@pytest.mark.parametrize(
    ("ref", "params", "failure_policy", "names"),
    [
        (REF, Parameters(), "Fail", ""),
        (REF, Parameters(), "Ignore", "abc"),
        (ALLOW, Parameters(), "Fail", "abc"),
        (ALLOW, Parameters(unusable="may not be read"), "Fail", ""),
        (REF, Parameters(unusable="may not be read"), "Ignore", "abc"),
    ],
)
async def test_an_object_that_is_not_there_does_what_the_policy_says(
    ref: ParamRef, params: Parameters, failure_policy: Any, names: str, engine: Engine
) -> None:
    entry = policy("params.data.region == target.name", ref=ref, params=params, failure_policy=failure_policy)
    found = await judged(engine, entry)
    assert {each.rpartition("/")[2] for each in found.targets} == set(names)
    told = " ".join(each.message for each in (*found.rejections, *found.rules))
    assert ("is not there" in told or "may not be read" in told) is (ref is REF or bool(params.unusable))


async def test_a_pattern_in_the_object_is_bounded_as_one_in_the_rule_is(engine: Engine) -> None:
    found = await judged(engine, policy("target.name.matches(params.data.bad)"))
    assert "cannot be used" in found.rules[0].message
    large = parameters_of({**OBJECT, "data": {"pattern": "[a-z]{900}" * 90}}, REF)
    assert (await judged(engine, policy("target.name.matches(params.data.pattern)", params=large))).rules[0].errors == 3


def test_a_policy_without_a_reference_has_no_params_and_params_is_no_name_beside_one() -> None:
    rule = Rule(name="r", expression="params.data.region == target.name")
    (found,) = check(PlacementPolicySpec(rules=(rule,)))
    assert "`params` is what `spec.paramRef` names, and there is none" in str(found)
    taken = Rule(name="r", expression='["a"].exists(params, params == target.name)')
    assert not check(PlacementPolicySpec(rules=(taken,)))
    assert check(PlacementPolicySpec(rules=(taken,), param_ref=REF))


def test_expressions_are_checked_before_the_object_is_there() -> None:
    good = Rule(name="r", expression="params.data.region == target.name && params.spec.names.size() > 1")
    bad = Rule(name="s", expression="target.nodez > params.spec.least")
    assert not check(PlacementPolicySpec(rules=(good,), param_ref=REF))
    assert check(PlacementPolicySpec(rules=(bad,), param_ref=REF))
    assert definitions_of(PlacementPolicySpec(rules=(good,))) == ()


@pytest.mark.parametrize("api_version", ["v1", "v2"])
def test_secrets_are_never_read(api_version: str) -> None:
    secret = ParamRef(
        api_version=api_version, kind="Secret", namespace="a", name="s", parameter_not_found_action="Allow"
    )
    found = parameters_of({"data": {"password": "aHVzaA=="}}, secret)
    assert (found.content, found.unusable) == ("", "Secrets are not read")


@pytest.mark.parametrize("data", [{"a": "x" * MOST_BYTES}, {"a": [0] * MOST_VALUES}])
def test_what_is_too_large_is_not_used(data: dict[str, Any]) -> None:
    found = parameters_of({"data": data}, REF)
    assert "ConfigMap rules/limits has more than" in found.unusable
    assert not found.content


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(
    value=st.dictionaries(st.sampled_from("abc"), VALUES), path=st.lists(st.sampled_from("abc"), min_size=1, max_size=3)
)
def test_a_field_is_what_the_engine_finds_there(value: dict[str, Any], path: list[str]) -> None:
    """Looked up beforehand or by the engine in the whole object, the answer is one."""
    content = json.dumps(value)
    expression = "params" + "".join(f'["{step}"]' for step in path)
    program = compile_rule(f"[{expression}]", ((PARAMS, content),), result="dyn")
    expected: Any = value
    for step in path:
        expected = expected.get(step, KeyError) if isinstance(expected, dict) else KeyError
    answer, message = evaluated(program.compiled, {}, {})
    if expected is KeyError:
        assert message
    else:
        assert not message
        assert answer == [expected]
        assert not any(isinstance(each, Select | Index) for each in walk(program.node))


def test_numbers_beyond_64_bits_are_doubles() -> None:
    assert tree(str(2**70)) == Literal(0, 0, "double", float(2**70))


def test_what_is_no_expression_is_not_hidden() -> None:
    with pytest.raises(InvalidExpression):
        compile_rule("params.", ((PARAMS, "{}"),))
