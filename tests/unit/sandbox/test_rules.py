"""Validation rules in CEL: what they see, what they say, and that they cannot run for ever."""

import time

import pytest

from services.sandbox.schemas.rules import BUDGET_SECONDS, Rules

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def schema(*rules, **properties):
    return {"type": "object", "properties": properties, "x-kubernetes-validations": list(rules)}


def rule(text, **more):
    return {"rule": text, **more}


INTEGER, STRING = {"type": "integer"}, {"type": "string"}
RANGE = {"min": INTEGER, "max": INTEGER}


@pytest.mark.parametrize(
    ("rules", "document", "expected"),
    [
        (schema(rule("self.min <= self.max"), **RANGE), {"min": 1, "max": 2}, []),
        (
            schema(rule("self.min <= self.max", message="min over max"), **RANGE),
            {"min": 3, "max": 2},
            [("FieldValueInvalid", "", "Invalid value: min over max")],
        ),
        (
            schema(rule("self.min <= self.max"), **RANGE),
            {"min": 3, "max": 2},
            [("FieldValueInvalid", "", "Invalid value: failed rule: self.min <= self.max")],
        ),
        (
            schema(
                rule("false", messageExpression="'not ' + string(self.min)", message="x", fieldPath=".min"), **RANGE
            ),
            {"min": 3},
            [("FieldValueInvalid", "min", "Invalid value: not 3")],
        ),
        (
            schema(rule("false", messageExpression="'not ' + self.max", message="plain"), **RANGE),
            {"min": 3},
            [("FieldValueInvalid", "", "Invalid value: plain")],
        ),
        (
            schema(rule("false", message="no", reason="FieldValueForbidden"), **RANGE),
            {},
            [("FieldValueForbidden", "", "Forbidden: no")],
        ),
        (schema(rule("has(self.a) != has(self.b)"), a=STRING, b=STRING), {"b": ""}, []),
        (schema(rule("self.half < 1.0"), half={"type": "number"}), {"half": 0}, []),
        (
            schema(rule("self.list.all(x, x.startsWith('a'))"), list={"type": "array", "items": STRING}),
            {"list": ["a"]},
            [],
        ),
        (
            schema(rule("self.__namespace__ == 'x' && self.a__dash__b"), **{"namespace": STRING, "a-b": {}}),
            {"namespace": "x", "a-b": True},
            [],
        ),
        (schema(rule("self.a.split(',').size() == 2 && self.a.lowerAscii() == 'x,y'"), a=STRING), {"a": "X,Y"}, []),
        (
            schema(items={"type": "array", "items": schema(rule("self.n > 0", message="m"), n=INTEGER)}),
            {"items": [{"n": 1}, {"n": 0}]},
            [("FieldValueInvalid", "items[1]", "Invalid value: m")],
        ),
        (
            {"type": "object", "additionalProperties": schema(rule("self.n > 0", message="m"), n=INTEGER)},
            {"a": {"n": 0}},
            [("FieldValueInvalid", "a", "Invalid value: m")],
        ),
    ],
)
def test_rules_are_evaluated_where_they_are(rules, document, expected):
    assert [tuple(cause) for cause in Rules(rules).check(document, None)] == expected


def test_what_cannot_be_evaluated_is_not_valid():
    (cause,) = Rules(schema(rule("self.max > 1"), **RANGE)).check({}, None)
    assert "rule evaluation error" in cause.message


KEYED = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
    "items": schema(rule("self.n >= oldSelf.n", message="shrinks"), name=STRING, n=INTEGER),
}


@pytest.mark.parametrize(
    ("old", "new", "paths"),
    [
        (None, {"list": [{"name": "a", "n": 1}]}, []),
        ({"list": []}, {"list": [{"name": "a", "n": 1}]}, []),
        ({"list": [{"name": "b", "n": 1}, {"name": "a", "n": 2}]}, {"list": [{"name": "a", "n": 1}]}, ["list[0]"]),
        ({"fixed": "x"}, {"fixed": "y"}, ["fixed"]),
        ({"fixed": "x"}, {}, []),
        ({}, {"fixed": "y"}, []),
        ({"bad": 7}, {"bad": 7}, []),
        ({"bad": 7}, {"bad": 8}, ["bad"]),
    ],
)
def test_rules_on_change_compare_with_the_old_value_of_the_same_thing(old, new, paths):
    fixed = {**STRING, "x-kubernetes-validations": [rule("self == oldSelf")]}
    bad = {**INTEGER, "x-kubernetes-validations": [rule("self < 5")]}
    rules = Rules({"type": "object", "properties": {"list": KEYED, "fixed": fixed, "bad": bad}})
    assert [cause.field for cause in rules.check(new, old)] == paths


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (rule("self.absent == 1"), "undefined field 'absent'"),
        (rule("self.min =="), "compilation failed"),
        (rule("unknown(self)"), "compilation failed"),
        (rule("'text'"), "must evaluate to a bool"),
        (rule("true", messageExpression="1"), "must evaluate to a string"),
        (rule("true", reason="Whatever"), "unsupported value"),
        (rule(f"'{'x' * 10_000}' == ''"), "too long"),
    ],
)
async def test_a_rule_that_is_none_is_refused_with_its_definition(hub, bad, said):
    spec = schema(bad, **RANGE)
    openapi = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget"}
    version = {"name": "v1", "served": True, "storage": True, "schema": openapi}
    body = {"group": "example.io", "scope": "Namespaced", "names": names, "versions": [version]}
    status = await hub("POST", CRDS, {"metadata": {"name": "widgets.example.io"}, "spec": body}, expect=422)
    assert said in status["message"]


@pytest.mark.parametrize("count", [200, 100_000])
def test_rules_cannot_run_for_ever(count):
    square = {"type": "array", "items": INTEGER, "x-kubernetes-validations": [rule("self.all(x, self.all(y, x == y))")]}
    rows = {"type": "array", "items": square}
    began = time.thread_time()
    causes = Rules({"type": "object", "properties": {"rows": rows}}).check({"rows": [[1] * count] * 500}, None)
    assert causes
    assert time.thread_time() - began < 5 * BUDGET_SECONDS
