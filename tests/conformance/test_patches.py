"""Merge patches, JSON patches, and the status subresource, which neither side writes through the other."""

import pytest

from shared.kube.resources import CONFIGMAPS
from tests.conformance.api import Api, causes, json_patch, refusal
from tests.conformance.widgets import OLD_WIDGETS, WIDGETS, widget

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


async def patch(api: Api, body, content_type: str = JSON_PATCH, resource=WIDGETS, **params):
    path = resource.path(api.namespace, "a")
    return await api.admin.request("PATCH", path, body=body, content_type=content_type, params=params)


async def spec(api: Api) -> dict:
    return (await api.admin.get(WIDGETS, "a", api.namespace))["spec"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"color": "blue"}, {"color": "blue", "options": {"a": "1", "b": "2"}, "steps": ["x", "y"]}),
        ({"color": None}, {"options": {"a": "1", "b": "2"}, "steps": ["x", "y"]}),
        ({"options": {"b": None, "c": "3"}}, {"color": "red", "options": {"a": "1", "c": "3"}, "steps": ["x", "y"]}),
        ({"steps": ["z"]}, {"color": "red", "options": {"a": "1", "b": "2"}, "steps": ["z"]}),
        ({"absent": None}, {"color": "red", "options": {"a": "1", "b": "2"}, "steps": ["x", "y"]}),
    ],
)
async def test_merge_patches(api: Api, change, expected):
    await api.admin.create(
        WIDGETS, widget("a", api.namespace, color="red", options={"a": "1", "b": "2"}, steps=["x", "y"])
    )
    defaults = {"size": 1, "replicas": 1, "deep": {"level": "low"}}
    changed = await api.admin.merge_patch(WIDGETS, "a", {"spec": change}, api.namespace)
    assert changed["spec"] == {**defaults, **expected}


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([{"op": "replace", "path": "/spec/color", "value": "blue"}], {"color": "blue", "steps": ["x", "y"]}),
        ([{"op": "add", "path": "/spec/steps/-", "value": "z"}], {"color": "red", "steps": ["x", "y", "z"]}),
        ([{"op": "add", "path": "/spec/steps/0", "value": "w"}], {"color": "red", "steps": ["w", "x", "y"]}),
        ([{"op": "remove", "path": "/spec/steps/0"}], {"color": "red", "steps": ["y"]}),
        (
            [{"op": "copy", "from": "/spec/steps/1", "path": "/spec/steps/0"}],
            {"color": "red", "steps": ["y", "x", "y"]},
        ),
        ([{"op": "move", "from": "/spec/steps/1", "path": "/spec/steps/0"}], {"color": "red", "steps": ["y", "x"]}),
        (
            [{"op": "test", "path": "/spec/color", "value": "red"}, {"op": "remove", "path": "/spec/color"}],
            {"steps": ["x", "y"]},
        ),
    ],
)
async def test_json_patches(api: Api, operations, expected):
    await api.admin.create(WIDGETS, widget("a", api.namespace, color="red", steps=["x", "y"]))
    changed = await json_patch(api.admin, WIDGETS, "a", operations, api.namespace)
    assert changed["spec"] == {"size": 1, "replicas": 1, "deep": {"level": "low"}, **expected}


async def test_keys_with_slashes_are_escaped_in_json_patches(api: Api):
    await api.make("a", annotations={"example.com/x": "1"})
    operations = [{"op": "replace", "path": "/metadata/annotations/example.com~1x", "value": "2"}]
    changed = await json_patch(api.admin, CONFIGMAPS, "a", operations, api.namespace)
    assert changed["metadata"]["annotations"]["example.com/x"] == "2"


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "replace", "path": "/spec/size", "value": 9}, {"op": "test", "path": "/spec/color", "value": "blue"}],
        [{"op": "remove", "path": "/spec/absent"}],
        [{"op": "replace", "path": "/spec/absent/deeper", "value": 1}],
        [{"op": "add", "path": "/spec/steps/9", "value": "z"}],
    ],
)
async def test_a_json_patch_that_does_not_fit_changes_nothing(api: Api, operations):
    await api.admin.create(WIDGETS, widget("a", api.namespace, color="red", steps=["x"]))
    before = await spec(api)
    error = await refusal(json_patch(api.admin, WIDGETS, "a", operations, api.namespace))
    assert error.status == 422
    assert await spec(api) == before


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b'{"op": "add"}', JSON_PATCH, 400),
        (b"[", JSON_PATCH, 400),
        (b"[1]", JSON_PATCH, 400),
        (b"[]", MERGE, 400),
        (b'"text"', MERGE, 400),
        (b"{", MERGE, 400),
        (b'{"spec": []}', MERGE, 422),
        (b"{}", "application/json", 415),
        (b"{}", "text/plain", 415),
    ],
)
async def test_what_is_no_patch_is_refused(api: Api, body, content_type, status):
    await api.admin.create(WIDGETS, widget("a", api.namespace))
    assert (await refusal(patch(api, body, content_type))).status == status


async def test_a_custom_kind_takes_no_strategic_merge_patch(api: Api):
    await api.admin.create(WIDGETS, widget("a", api.namespace))
    error = await refusal(patch(api, b"{}", STRATEGIC))
    assert (error.status, error.reason) == (415, "UnsupportedMediaType")


async def test_a_built_in_kind_takes_one(api: Api):
    await api.make("a", finalizers=["example.com/one"])
    body = b'{"data": {"k": "v"}, "metadata": {"finalizers": ["example.com/two"]}}'
    await patch(api, body, STRATEGIC, CONFIGMAPS)
    found = await api.admin.get(CONFIGMAPS, "a", api.namespace)
    assert found["data"] == {"k": "v"}
    assert sorted(found["metadata"]["finalizers"]) == ["example.com/one", "example.com/two"]  # merged, not replaced
    await patch(api, b'{"metadata": {"finalizers": null}}', MERGE, CONFIGMAPS)


async def test_a_patch_may_be_conditional_on_a_version(api: Api):
    (made,) = await api.make("a")
    stale = made["metadata"]["resourceVersion"]
    body = {"metadata": {"resourceVersion": stale}, "data": {"k": "1"}}
    await api.admin.merge_patch(CONFIGMAPS, "a", body, api.namespace)
    error = await refusal(api.admin.merge_patch(CONFIGMAPS, "a", {**body, "data": {"k": "2"}}, api.namespace))
    assert (error.status, error.reason) == (409, "Conflict")


async def test_a_patch_that_changes_nothing_makes_no_version(api: Api):
    made = await api.admin.create(WIDGETS, widget("a", api.namespace, color="red"))
    again = await api.admin.merge_patch(WIDGETS, "a", {"spec": {"color": "red"}}, api.namespace)
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_a_patch_cannot_rename(api: Api):
    await api.make("a")
    error = await refusal(api.admin.merge_patch(CONFIGMAPS, "a", {"metadata": {"name": "b"}}, api.namespace))
    assert error.status in {400, 422}


async def test_a_patch_is_validated_like_anything_else(api: Api):
    await api.admin.create(WIDGETS, widget("a", api.namespace))
    error = await refusal(api.admin.merge_patch(WIDGETS, "a", {"spec": {"size": 500}}, api.namespace))
    assert error.status == 422
    assert causes(error) == {("FieldValueInvalid", "spec.size")}


async def test_the_status_is_written_through_its_own_path_alone(api: Api):
    made = await api.admin.create(WIDGETS, {**widget("a", api.namespace, color="red"), "status": {"phase": "Forged"}})
    assert "status" not in made
    patched = await api.admin.merge_patch(WIDGETS, "a", {"status": {"phase": "Forged"}}, api.namespace)
    assert "status" not in patched
    reported = await api.admin.replace(
        WIDGETS, {**made, "status": {"phase": "Up"}, "spec": {"color": "blue"}}, subresource="status"
    )
    assert (reported["status"], reported["spec"]["color"]) == ({"phase": "Up"}, "red")
    replaced = await api.admin.replace(WIDGETS, {**reported, "status": {"phase": "Forged"}})
    assert replaced["status"] == {"phase": "Up"}
    assert (await api.admin.get(WIDGETS, "a", api.namespace, subresource="status"))["status"] == {"phase": "Up"}


async def test_a_status_patch_leaves_metadata_alone(api: Api):
    await api.admin.create(WIDGETS, widget("a", api.namespace))
    change = {"metadata": {"labels": {"x": "y"}, "finalizers": ["example.com/f"]}, "status": {"phase": "Up"}}
    reported = await api.admin.merge_patch(WIDGETS, "a", change, api.namespace, subresource="status")
    assert reported["status"] == {"phase": "Up"}
    assert "labels" not in reported["metadata"]
    assert "finalizers" not in reported["metadata"]


async def test_a_stale_status_is_a_conflict(api: Api):
    made = await api.admin.create(WIDGETS, widget("a", api.namespace))
    await api.admin.replace(WIDGETS, {**made, "status": {"phase": "1"}}, subresource="status")
    error = await refusal(api.admin.replace(WIDGETS, {**made, "status": {"phase": "2"}}, subresource="status"))
    assert (error.status, error.reason) == (409, "Conflict")


async def test_a_status_is_validated(api: Api):
    await api.admin.create(WIDGETS, widget("a", api.namespace))
    status = {"conditions": [{"type": "Ready", "status": "Maybe"}]}
    error = await refusal(api.admin.merge_patch(WIDGETS, "a", {"status": status}, api.namespace, subresource="status"))
    assert error.status == 422
    assert 'status.conditions[0].status: Unsupported value: "Maybe"' in error.message


async def test_a_kind_without_status_has_no_such_path(api: Api):
    await api.make("a")
    error = await refusal(api.admin.get(CONFIGMAPS, "a", api.namespace, subresource="status"))
    assert error.status == 404


async def test_the_scale_of_a_custom_kind_is_read_and_written(api: Api):
    await api.admin.create(WIDGETS, widget("a", api.namespace, replicas=2))
    status = {"status": {"replicas": 1, "selector": "app=a"}}
    await api.admin.merge_patch(WIDGETS, "a", status, api.namespace, subresource="status")
    scale = await api.admin.get(WIDGETS, "a", api.namespace, subresource="scale")
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert (scale["spec"], scale["status"]) == ({"replicas": 2}, {"replicas": 1, "selector": "app=a"})
    scale["spec"]["replicas"] = 5
    written = await api.admin.replace(WIDGETS, scale, subresource="scale")
    assert written["spec"] == {"replicas": 5}
    assert (await spec(api))["replicas"] == 5
    patched = await api.admin.merge_patch(WIDGETS, "a", {"spec": {"replicas": 3}}, api.namespace, subresource="scale")
    assert patched["spec"] == {"replicas": 3}
    found = await api.admin.get(WIDGETS, "a", api.namespace)
    assert (found["spec"]["replicas"], found["metadata"]["generation"]) == (3, 3)


async def test_versions_of_a_kind_are_views_of_one_object(api: Api):
    made = await api.admin.create(OLD_WIDGETS, {**widget("a", api.namespace), "apiVersion": OLD_WIDGETS.api_version})
    assert made["apiVersion"] == OLD_WIDGETS.api_version
    new = await api.admin.merge_patch(WIDGETS, "a", {"spec": {"color": "blue"}}, api.namespace)
    assert (new["apiVersion"], new["metadata"]["uid"]) == (WIDGETS.api_version, made["metadata"]["uid"])
    assert (await api.admin.get(OLD_WIDGETS, "a", api.namespace))["spec"]["color"] == "blue"
