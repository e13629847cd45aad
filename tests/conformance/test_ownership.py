"""Who owns what of an object to the letter: what appliers and other writers find in managedFields."""

import pytest

from tests.conformance.api import Api, causes, refusal
from tests.conformance.widgets import WIDGETS, widget


async def apply(api: Api, manager: str, /, *, force: bool = False, **spec):
    return await api.admin.apply(WIDGETS, widget("a", api.namespace, **spec), field_manager=manager, force=force)


def owned(document: dict, manager: str) -> dict:
    (entry,) = (each for each in document["metadata"]["managedFields"] if each["manager"] == manager)
    return dict(entry["fieldsV1"])


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({}, {"f:spec": {}}),
        ({"options": {}}, {"f:spec": {"f:options": {}}}),
        ({"options": {"o": "1"}}, {"f:spec": {"f:options": {"f:o": {}}}}),
        ({"color": "red", "tags": [], "listeners": []}, {"f:spec": {"f:color": {}}}),
        ({"steps": []}, {"f:spec": {"f:steps": {}}}),
        ({"free": {"a": {"b": 1}}}, {"f:spec": {"f:free": {"f:a": {".": {}, "f:b": {}}}}}),
        ({"deep": {"other": "x"}}, {"f:spec": {"f:deep": {"f:other": {}}}}),
        ({"note": None}, {"f:spec": {"f:note": {}}}),
    ],
)
async def test_an_applier_owns_leaves_and_empty_maps_but_no_empty_lists(api: Api, spec, fields):
    assert owned(await apply(api, "one", **spec), "one") == fields


async def test_an_applier_that_names_nothing_owns_nothing_and_is_not_listed(api: Api):
    made = await apply(api, "one", tags=[])
    assert "managedFields" not in made["metadata"]


async def test_another_writer_owns_the_containers_that_it_brings_and_the_defaults(api: Api):
    made = await api.admin.create(WIDGETS, widget("a", api.namespace, options={"o": "1"}, tags=[]), field_manager="one")
    deep = {".": {}, "f:level": {}}
    spec = {".": {}, "f:options": {".": {}, "f:o": {}}, "f:tags": {}}
    assert owned(made, "one") == {"f:spec": {**spec, "f:deep": deep, "f:replicas": {}, "f:size": {}}}
    changed = await api.admin.merge_patch(
        WIDGETS, "a", {"spec": {"options": {"p": "1"}}}, api.namespace, field_manager="two"
    )
    assert owned(changed, "two") == {"f:spec": {"f:options": {"f:p": {}}}}


async def test_who_applies_what_was_so_before_has_no_time_and_comes_first(api: Api):
    await apply(api, "one", color="red")
    shared = await apply(api, "two", color="red")
    listed = [(each["manager"], "time" in each) for each in shared["metadata"]["managedFields"]]
    assert listed == [("two", False), ("one", True)]


@pytest.mark.parametrize("given", [[], None], ids=str)
async def test_an_empty_list_of_owners_takes_nothing_from_anybody(api: Api, given):
    made = await apply(api, "one", color="red")
    before = owned(made, "one")
    body = {"metadata": {"managedFields": given}, "spec": {"size": 7}}
    patched = await api.admin.merge_patch(WIDGETS, "a", body, api.namespace, field_manager="two")
    assert owned(patched, "one") == before
    made["metadata"] |= {"managedFields": given, "resourceVersion": patched["metadata"]["resourceVersion"]}
    replaced = await api.admin.replace(WIDGETS, made, field_manager="two")
    assert owned(replaced, "one") == before


async def test_what_nobody_owned_belongs_to_a_manager_of_its_own_at_the_first_apply(api: Api):
    await api.admin.create(WIDGETS, widget("a", api.namespace, color="red"))
    await api.admin.merge_patch(WIDGETS, "a", {"metadata": {"managedFields": [{}]}}, api.namespace)
    patched = await api.admin.merge_patch(WIDGETS, "a", {"spec": {"size": 7}}, api.namespace, field_manager="two")
    assert "managedFields" not in patched["metadata"]
    applied = await apply(api, "one", color="red")
    assert owned(applied, "one") == {"f:spec": {"f:color": {}}}
    assert {"f:color", "f:size"} <= owned(applied, "before-first-apply")["f:spec"].keys()


@pytest.mark.parametrize(
    ("first", "second", "spec"),
    [
        ({"color": "red"}, {}, {}),
        ({"deep": {"other": "x"}}, {"deep": {}}, {}),
        ({"free": {"a": {"b": 1}}}, {"free": {"a": {}}}, {"free": {"a": None}}),
        ({"color": "red", "tags": ["a"]}, {"color": "red", "tags": []}, {"color": "red"}),
        ({"listeners": [{"port": 1, "name": "x"}]}, {"listeners": [{"port": 1}]}, {"listeners": [1]}),
    ],
)
async def test_what_an_applier_no_longer_names_goes(api: Api, first, second, spec):
    await apply(api, "one", **first)
    found = (await apply(api, "one", **second))["spec"]
    if "listeners" in found:
        found["listeners"] = [each["port"] for each in found["listeners"] if "name" not in each]
    assert found == {"size": 1, "replicas": 1, "deep": {"level": "low"}, **spec}


async def test_a_map_that_this_empties_is_null_which_its_schema_may_not_take(api: Api):
    await apply(api, "one", options={"o": "1"})
    error = await refusal(apply(api, "one", options={}))
    assert error.status == 422
    assert ("FieldValueTypeInvalid", "spec.options") in causes(error)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"odd": 1}, ".spec.odd: field not declared in schema"),
        ({"deep": {"odd": 1}}, ".spec.deep.odd: field not declared in schema"),
        ({"size": "big"}, ".spec.size: expected numeric (int or float), got string"),
        ({"color": 5}, ".spec.color: expected string, got &value.valueUnstructured{Value:5}"),
        ({"deep": "x"}, ".spec.deep: expected map, got &{x}"),
        ({"steps": [5]}, ".spec.steps[0]: expected string, got &value.valueUnstructured{Value:5}"),
        ({"tags": "x"}, ".spec.tags: expected list, got &{x}"),
        ({"tags": ["a", "a"]}, '.spec.tags: duplicate entries for key [="a"]'),
        ({"listeners": ["x"]}, ".spec.listeners: element 0: associative list with keys may not have non-map elements"),
    ],
)
async def test_what_has_no_place_in_the_schema_cannot_be_applied(api: Api, spec, message):
    error = await refusal(apply(api, "one", **spec))
    assert (error.status, error.reason) == (500, "")
    where = f"{api.namespace}/a; conformance.moorage.io/v1, Kind=Widget"
    assert error.message == f"failed to create typed patch object ({where}): {message}"


async def test_conflicts_of_one_owner_are_listed_together(api: Api):
    await apply(api, "one", color="red", size=7)
    error = await refusal(apply(api, "two", color="blue", size=8))
    assert error.message == 'Apply failed with 2 conflicts: conflicts with "one": - .spec.color - .spec.size'


async def test_a_conflict_says_through_which_subresource_the_owner_wrote(api: Api):
    await apply(api, "one")
    reported = {**widget("a", api.namespace), "status": {"phase": "Up"}}
    await api.admin.apply(WIDGETS, reported, field_manager="one", subresource="status")
    changed = {**reported, "status": {"phase": "Down"}}
    error = await refusal(api.admin.apply(WIDGETS, changed, field_manager="two", subresource="status"))
    assert error.message == 'Apply failed with 1 conflict: conflict with "one" with subresource "status": .status.phase'
