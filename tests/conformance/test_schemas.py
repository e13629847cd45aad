"""Custom kinds: defaults, pruning, validation messages, CEL rules, strictness."""

import pytest

from shared.kube.resources import CONFIGMAPS
from tests.conformance.api import Api, causes, refusal
from tests.conformance.widgets import WIDGETS, widget


async def make(api: Api, **spec):
    return await api.admin.create(WIDGETS, widget("a", api.namespace, **spec))


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({}, {"size": 1, "replicas": 1, "deep": {"level": "low"}}),
        ({"size": 5}, {"size": 5, "replicas": 1, "deep": {"level": "low"}}),
        ({"deep": {"other": "x"}}, {"size": 1, "replicas": 1, "deep": {"level": "low", "other": "x"}}),
        ({"size": None}, {"size": 1, "replicas": 1, "deep": {"level": "low"}}),
        ({"color": None}, {"size": 1, "replicas": 1, "deep": {"level": "low"}}),
        ({"note": None}, {"size": 1, "replicas": 1, "deep": {"level": "low"}, "note": None}),
        ({"unknown": 1, "deep": {"odd": 1}}, {"size": 1, "replicas": 1, "deep": {"level": "low"}}),
        (
            {"free": {"anything": {"goes": [1]}}},
            {"size": 1, "replicas": 1, "deep": {"level": "low"}, "free": {"anything": {"goes": [1]}}},
        ),
        (
            {"listeners": [{"port": 1, "odd": True}]},
            {"size": 1, "replicas": 1, "deep": {"level": "low"}, "listeners": [{"port": 1, "protocol": "TCP"}]},
        ),
        ({"amount": "10%"}, {"size": 1, "replicas": 1, "deep": {"level": "low"}, "amount": "10%"}),
        ({"amount": 10}, {"size": 1, "replicas": 1, "deep": {"level": "low"}, "amount": 10}),
    ],
)
async def test_defaults_are_filled_in_and_unknown_fields_are_dropped(api: Api, given, stored):
    made = await make(api, **given)
    assert made["spec"] == stored
    assert (await api.admin.get(WIDGETS, "a", api.namespace))["spec"] == stored


async def test_unknown_fields_beside_the_schema_and_in_metadata_are_dropped(api: Api):
    document = {**widget("a", api.namespace), "extra": 1}
    document["metadata"]["odd"] = "x"
    made = await api.admin.create(WIDGETS, document)
    assert "extra" not in made
    assert "odd" not in made["metadata"]


@pytest.mark.parametrize(
    ("spec", "reason", "field", "words"),
    [
        ({"size": 200}, "FieldValueInvalid", "spec.size", "should be less than or equal to 100"),
        ({"size": -1}, "FieldValueInvalid", "spec.size", "should be greater than or equal to 0"),
        ({"size": "x"}, "FieldValueTypeInvalid", "spec.size", 'must be of type integer: "string"'),
        ({"size": 1.5}, "FieldValueTypeInvalid", "spec.size", 'must be of type integer: "number"'),
        ({"color": "pink"}, "FieldValueNotSupported", "spec.color", '"pink": supported values: "red", "green", "blue"'),
        ({"code": "ABC"}, "FieldValueInvalid", "spec.code", "should match '^[a-z]+$'"),
        ({"code": "toolongcode"}, "FieldValueTooLong", "spec.code", "may not be more than 8"),
        ({"tags": ["a", "a"]}, "FieldValueDuplicate", "spec.tags[1]", 'Duplicate value: "a"'),
        ({"tags": "a"}, "FieldValueTypeInvalid", "spec.tags", 'must be of type array: "string"'),
        ({"listeners": [{}]}, "FieldValueRequired", "spec.listeners[0].port", "Required value"),
        ({"options": {"a": 1}}, "FieldValueTypeInvalid", "spec.options.a", 'must be of type string: "integer"'),
        ({"options": []}, "FieldValueTypeInvalid", "spec.options", 'must be of type object: "array"'),
        (
            {"listeners": [{"port": 1}, {"port": 1, "protocol": "TCP"}]},
            "FieldValueDuplicate",
            "spec.listeners[1]",
            "Duplicate value",
        ),
    ],
)
async def test_what_breaks_the_schema_is_refused_with_field_and_reason(api: Api, spec, reason, field, words):
    error = await refusal(make(api, **spec))
    assert (error.status, error.reason) == (422, "Invalid")
    assert (reason, field) in causes(error)
    assert words in error.message
    assert error.message.startswith('Widget.conformance.moorage.io "a" is invalid: ')


async def test_every_broken_field_is_told_at_once(api: Api):
    error = await refusal(make(api, size=200, color="pink", code="A"))
    assert {field for _, field in causes(error)} >= {"spec.size", "spec.color", "spec.code"}
    assert error.message.startswith('Widget.conformance.moorage.io "a" is invalid: [')


async def test_a_missing_field_is_required(api: Api):
    document = widget("a", api.namespace)
    del document["spec"]
    error = await refusal(api.admin.create(WIDGETS, document))
    assert ("FieldValueRequired", "spec") in causes(error)


async def test_a_rule_over_several_fields_is_kept(api: Api):
    error = await refusal(make(api, min=5, max=3))
    assert error.status == 422
    assert "min must not exceed max" in error.message
    assert causes(error) == {("FieldValueInvalid", "spec")}
    await make(api, min=3, max=3)
    assert (await refusal(api.admin.merge_patch(WIDGETS, "a", {"spec": {"max": 2}}, api.namespace))).status == 422


async def test_a_rule_may_make_its_message_and_name_its_field_and_reason(api: Api):
    error = await refusal(make(api, code="taken"))
    assert causes(error) == {("FieldValueForbidden", "spec.code")}
    assert "code taken is not free" in error.message


async def test_a_rule_on_change_holds_for_updates_alone(api: Api):
    await make(api, fixed="x")
    error = await refusal(api.admin.merge_patch(WIDGETS, "a", {"spec": {"fixed": "y"}}, api.namespace))
    assert causes(error) == {("FieldValueInvalid", "spec.fixed")}
    assert "fixed cannot be changed" in error.message
    await api.admin.merge_patch(WIDGETS, "a", {"spec": {"size": 2}}, api.namespace)
    removed = await api.admin.merge_patch(WIDGETS, "a", {"spec": {"fixed": None}}, api.namespace)
    assert "fixed" not in removed["spec"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('"spec":{"odd":1}', 'unknown field "spec.odd"'),
        ('"spec":{"deep":{"odd":1}}', 'unknown field "spec.deep.odd"'),
        ('"spec":{"listeners":[{"port":1,"odd":1}]}', 'unknown field "spec.listeners[0].odd"'),
        ('"spec":{"size":1,"size":2}', 'duplicate field "spec.size"'),
        ('"spec":{},"odd":1', 'unknown field "odd"'),
    ],
)
async def test_strict_validation_refuses_what_would_be_dropped(api: Api, body, words):
    head = '{"apiVersion":"conformance.moorage.io/v1","kind":"Widget","metadata":{"name":"a"},'
    path = WIDGETS.path(api.namespace)
    document = f"{head}{body}}}".encode()
    error = await refusal(api.admin.request("POST", path, params={"fieldValidation": "Strict"}, body=document))
    assert (error.status, error.reason) == (400, "BadRequest")
    assert "strict decoding error" in error.message
    assert words in error.message
    await api.admin.request("POST", path, params={"fieldValidation": "Ignore"}, body=document)


async def test_strict_validation_holds_for_built_in_kinds_and_patches(api: Api):
    document = {**api.config_map("a"), "odd": 1}
    path = CONFIGMAPS.path(api.namespace)
    error = await refusal(api.admin.request("POST", path, params={"fieldValidation": "Strict"}, body=document))
    assert 'unknown field "odd"' in error.message
    await api.make("a")
    error = await refusal(
        api.admin.request(
            "PATCH",
            CONFIGMAPS.path(api.namespace, "a"),
            params={"fieldValidation": "Strict"},
            body={"odd": 1},
            content_type="application/merge-patch+json",
        )
    )
    assert 'unknown field "odd"' in error.message


async def test_strict_validation_holds_for_apply(api: Api):
    path = WIDGETS.path(api.namespace, "a")
    params = {"fieldManager": "one", "fieldValidation": "Strict"}
    body = widget("a", api.namespace, odd=1)
    error = await refusal(
        api.admin.request("PATCH", path, params=params, body=body, content_type="application/apply-patch+yaml")
    )
    assert error.status in {400, 500}
    assert "odd" in error.message


async def test_only_known_kinds_of_strictness_are_taken(api: Api):
    error = await refusal(
        api.admin.request(
            "POST", CONFIGMAPS.path(api.namespace), params={"fieldValidation": "Harsh"}, body=api.config_map("a")
        )
    )
    assert error.status == 422
    assert "fieldValidation" in error.message
