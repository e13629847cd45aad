"""Objects come, change and go: names, versions, conflicts, generations."""

import pytest

from shared.kube.resources import CONFIGMAPS, NAMESPACES
from tests.conformance.api import Api, refusal
from tests.conformance.widgets import WIDGETS, widget

NO_SUCH_UID = "00000000-0000-4000-8000-000000000000"


async def test_a_created_object_carries_what_the_server_adds(api: Api):
    (made,) = await api.make("a", labels={"x": "y"})
    metadata = made["metadata"]
    assert metadata["uid"]
    assert metadata["resourceVersion"]
    assert metadata["creationTimestamp"].endswith("Z")
    assert metadata["labels"] == {"x": "y"}
    assert await api.admin.get(CONFIGMAPS, "a", api.namespace) == made


async def test_creating_what_exists_is_told_from_a_conflict(api: Api):
    await api.make("a")
    error = await refusal(api.make("a"))
    assert (error.status, error.reason) == (409, "AlreadyExists")
    assert error.message == 'configmaps "a" already exists'
    assert (error.details["name"], error.details["kind"]) == ("a", "configmaps")


@pytest.mark.parametrize("verb", ["get", "patch", "delete", "replace"])
async def test_what_is_not_there_is_not_found(api: Api, verb):
    calls = {
        "get": lambda: api.admin.get(CONFIGMAPS, "absent", api.namespace),
        "patch": lambda: api.admin.merge_patch(CONFIGMAPS, "absent", {"data": {}}, api.namespace),
        "delete": lambda: api.admin.delete(CONFIGMAPS, "absent", api.namespace),
        "replace": lambda: api.admin.replace(CONFIGMAPS, api.config_map("absent")),
    }
    error = await refusal(calls[verb]())
    assert (error.status, error.reason) == (404, "NotFound")
    assert error.message == 'configmaps "absent" not found'
    assert error.details["kind"] == "configmaps"


async def test_the_group_of_a_kind_is_named_in_refusals(api: Api):
    error = await refusal(api.admin.get(WIDGETS, "absent", api.namespace))
    assert error.message == 'widgets.conformance.moorage.io "absent" not found'
    assert (error.details["group"], error.details["kind"]) == ("conformance.moorage.io", "widgets")


async def test_nothing_is_created_in_a_namespace_that_is_not_there(api: Api):
    document = {**api.config_map("a"), "metadata": {"name": "a", "namespace": "absent"}}
    error = await refusal(api.admin.create(CONFIGMAPS, document))
    assert (error.status, error.message) == (404, 'namespaces "absent" not found')


async def test_generated_names_begin_as_asked_and_differ(api: Api):
    made = [await api.admin.create(CONFIGMAPS, api.config_map(generateName="run-")) for _ in range(3)]
    names = [each["metadata"]["name"] for each in made]
    assert len(set(names)) == 3
    assert all(name.startswith("run-") and len(name) == len("run-") + 5 for name in names)
    assert {each["metadata"]["generateName"] for each in made} == {"run-"}


async def test_a_name_wins_over_a_prefix_to_generate_one(api: Api):
    (made,) = await api.make("a", generateName="b-")
    assert made["metadata"]["name"] == "a"


@pytest.mark.parametrize("name", ["Upper", "under_score", "-dash", "dash-", "a..b", "a" * 254, "a b"])
async def test_a_name_must_be_a_name(api: Api, name):
    error = await refusal(api.make(name))
    assert (error.status, error.reason) == (422, "Invalid")
    assert "metadata.name: Invalid value" in error.message


async def test_an_object_needs_a_name(api: Api):
    error = await refusal(api.admin.create(CONFIGMAPS, api.config_map()))
    assert error.status == 422
    assert "name or generateName is required" in error.message


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"labels": {"bad key!": "x"}}, "metadata.labels: Invalid value"),
        ({"labels": {"x": "bad value!"}}, "metadata.labels: Invalid value"),
        ({"annotations": {"bad key!": "x"}}, "metadata.annotations: Invalid value"),
        ({"finalizers": ["bad finalizer!"]}, "metadata.finalizers"),
        ({"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "o"}]}, "metadata.ownerReferences"),
    ],
)
async def test_metadata_is_validated(api: Api, metadata, words):
    error = await refusal(api.make("a", **metadata))
    assert error.status == 422, error
    assert words in error.message


async def test_what_is_replaced_gets_a_new_version_and_keeps_its_identity(api: Api):
    (made,) = await api.make("a")
    changed = await api.admin.replace(CONFIGMAPS, {**made, "data": {"k": "v"}})
    assert changed["data"] == {"k": "v"}
    assert changed["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
    for field in ("uid", "creationTimestamp"):
        assert changed["metadata"][field] == made["metadata"][field]


async def test_what_is_replaced_by_itself_keeps_its_version(api: Api):
    (made,) = await api.make("a")
    again = await api.admin.replace(CONFIGMAPS, made)
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_a_stale_version_is_a_conflict_and_changes_nothing(api: Api):
    (made,) = await api.make("a")
    await api.admin.replace(CONFIGMAPS, {**made, "data": {"k": "1"}})
    error = await refusal(api.admin.replace(CONFIGMAPS, {**made, "data": {"k": "2"}}))
    assert (error.status, error.reason) == (409, "Conflict")
    assert "the object has been modified; please apply your changes to the latest version" in error.message
    assert (await api.admin.get(CONFIGMAPS, "a", api.namespace))["data"] == {"k": "1"}


async def test_a_built_in_kind_can_be_replaced_without_a_version(api: Api):
    await api.make("a")
    changed = await api.admin.replace(CONFIGMAPS, api.config_map("a", {"k": "v"}))
    assert changed["data"] == {"k": "v"}


async def test_a_custom_kind_cannot_be_replaced_without_a_version(api: Api):
    await api.admin.create(WIDGETS, widget("a", api.namespace, size=2))
    error = await refusal(api.admin.replace(WIDGETS, widget("a", api.namespace, size=3)))
    assert error.status == 422
    assert "metadata.resourceVersion: Invalid value" in error.message
    assert "must be specified for an update" in error.message


async def test_another_uid_is_another_object(api: Api):
    (made,) = await api.make("a")
    error = await refusal(api.admin.replace(CONFIGMAPS, api.config_map("a", {"k": "v"}, uid=NO_SUCH_UID)))
    assert (error.status, error.reason) == (409, "Conflict")
    assert made["metadata"]["uid"] in error.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metadata": {"name": "b"}}, "the name of the object (b) does not match the name on the URL (a)"),
        ({"metadata": {"name": "a", "namespace": "elsewhere"}}, "does not match the namespace sent on the request"),
        ({"kind": "Secret"}, ""),
        ({"apiVersion": "v2"}, ""),
    ],
)
async def test_the_body_must_fit_the_path(api: Api, change, words):
    await api.make("a")
    document = {**api.config_map("a"), **change}
    error = await refusal(api.admin.request("PUT", CONFIGMAPS.path(api.namespace, "a"), body=document))
    assert (error.status, error.reason) == (400, "BadRequest")
    assert words in error.message


async def test_the_generation_counts_changes_of_what_is_wanted_alone(api: Api):
    made = await api.admin.create(WIDGETS, widget("a", api.namespace, size=2))
    assert made["metadata"]["generation"] == 1
    labelled = await api.admin.merge_patch(WIDGETS, "a", {"metadata": {"labels": {"x": "y"}}}, api.namespace)
    assert labelled["metadata"]["generation"] == 1
    reported = await api.admin.merge_patch(
        WIDGETS, "a", {"status": {"phase": "Up"}}, api.namespace, subresource="status"
    )
    assert reported["metadata"]["generation"] == 1
    changed = await api.admin.merge_patch(WIDGETS, "a", {"spec": {"size": 3}}, api.namespace)
    assert changed["metadata"]["generation"] == 2
    forged = await api.admin.merge_patch(WIDGETS, "a", {"metadata": {"generation": 9}}, api.namespace)
    assert forged["metadata"]["generation"] == 2


async def test_what_the_server_decides_cannot_be_changed(api: Api):
    (made,) = await api.make("a")
    forged = {**made["metadata"], "creationTimestamp": "2001-01-01T00:00:00Z"}
    changed = await api.admin.replace(CONFIGMAPS, {**made, "metadata": forged, "data": {"k": "v"}})
    assert changed["metadata"]["creationTimestamp"] == made["metadata"]["creationTimestamp"]


async def test_a_new_object_cannot_bring_a_version_along(api: Api):
    error = await refusal(api.make("a", resourceVersion="7"))
    assert "resourceVersion should not be set on objects to be created" in error.message


async def test_an_immutable_config_map_stays_as_it_is(api: Api):
    await api.admin.create(CONFIGMAPS, {**api.config_map("a", {"k": "v"}), "immutable": True})
    error = await refusal(api.admin.merge_patch(CONFIGMAPS, "a", {"data": {"k": "w"}}, api.namespace))
    assert error.status == 422
    assert "field is immutable when `immutable` is set" in error.message


async def test_a_namespace_is_active_and_knows_its_name(api: Api):
    found = await api.admin.get(NAMESPACES, api.namespace)
    assert found["status"]["phase"] == "Active"
    assert found["spec"]["finalizers"] == ["kubernetes"]
    assert found["metadata"]["labels"]["kubernetes.io/metadata.name"] == api.namespace


async def test_who_wrote_what_is_recorded(api: Api):
    made = await api.admin.create(CONFIGMAPS, api.config_map("a", {"k": "v"}), field_manager="maker")
    (entry,) = made["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"], entry["apiVersion"]) == ("maker", "Update", "v1")
    assert (entry["fieldsType"], entry["fieldsV1"]) == ("FieldsV1", {"f:data": {".": {}, "f:k": {}}})


async def test_without_a_name_the_manager_is_the_client_program(api: Api):
    (made,) = await api.make("a", labels={"x": "y"})
    (entry,) = made["metadata"]["managedFields"]
    assert entry["manager"] == "conformance"
