"""Server-side apply: who owns which field, what is a conflict, and what goes when an owner lets go."""

import pytest

from shared.kube.resources import CONFIGMAPS
from tests.conformance.api import Api, causes, refusal
from tests.conformance.widgets import OLD_WIDGETS, WIDGETS, widget

APPLY = "application/apply-patch+yaml"
DEFAULTS = {"size": 1, "replicas": 1, "deep": {"level": "low"}}


async def apply(api: Api, manager: str, /, *, force: bool = False, **spec):
    document = widget("a", api.namespace, **spec)
    return await api.admin.apply(WIDGETS, document, field_manager=manager, force=force)


def entry(document: dict, manager: str, subresource: str = "") -> dict:
    """The entry of one applier in managedFields; empty when there is none."""
    for each in document["metadata"].get("managedFields", ()):
        if (each["manager"], each["operation"], each.get("subresource", "")) == (manager, "Apply", subresource):
            return dict(each)
    return {}


async def test_what_is_not_there_is_created_and_its_fields_are_owned(api: Api):
    made = await apply(api, "one", color="red", options={"k": "v"})
    assert made["spec"] == {**DEFAULTS, "color": "red", "options": {"k": "v"}}
    found = entry(made, "one")
    assert (found["apiVersion"], found["fieldsType"]) == (WIDGETS.api_version, "FieldsV1")
    assert found["fieldsV1"] == {"f:spec": {"f:color": {}, "f:options": {"f:k": {}}}}
    assert found["time"].endswith("Z")


async def test_applying_the_same_again_changes_nothing_not_even_the_version(api: Api):
    made = await apply(api, "one", color="red")
    assert await apply(api, "one", color="red") == made


async def test_a_field_that_is_left_out_is_removed_and_one_with_a_default_falls_back(api: Api):
    await apply(api, "one", color="red", size=7, options={"a": "1", "b": "2"})
    changed = await apply(api, "one", options={"b": "2"})
    assert changed["spec"] == {**DEFAULTS, "options": {"b": "2"}}


async def test_another_value_of_an_owned_field_is_a_conflict_that_names_field_and_owner(api: Api):
    await apply(api, "one", color="red", size=7)
    error = await refusal(apply(api, "two", color="blue", size=7))
    assert (error.status, error.reason) == (409, "Conflict")
    assert causes(error) == {("FieldManagerConflict", ".spec.color")}
    assert error.details["causes"][0]["message"] == 'conflict with "one"'
    assert error.message == 'Apply failed with 1 conflict: conflict with "one": .spec.color'
    assert (await api.admin.get(WIDGETS, "a", api.namespace))["spec"]["color"] == "red"


async def test_several_conflicts_are_told_together(api: Api):
    await apply(api, "one", color="red", size=7)
    error = await refusal(apply(api, "two", color="blue", size=8))
    assert causes(error) == {("FieldManagerConflict", ".spec.color"), ("FieldManagerConflict", ".spec.size")}
    assert error.message.startswith("Apply failed with 2 conflicts")


async def test_force_takes_a_field_over_and_the_former_owner_loses_it(api: Api):
    await apply(api, "one", color="red", size=7)
    taken = await apply(api, "two", color="blue", force=True)
    assert taken["spec"]["color"] == "blue"
    assert entry(taken, "one")["fieldsV1"] == {"f:spec": {"f:size": {}}}
    assert entry(taken, "two")["fieldsV1"] == {"f:spec": {"f:color": {}}}
    left = await apply(api, "one", size=7)
    assert left["spec"]["color"] == "blue"


async def test_the_same_value_is_shared_and_stays_until_the_last_owner_lets_go(api: Api):
    await apply(api, "one", color="red", size=2)
    shared = await apply(api, "two", color="red", size=2)
    assert entry(shared, "one")["fieldsV1"] == entry(shared, "two")["fieldsV1"]
    first = await apply(api, "one", size=2)
    assert first["spec"]["color"] == "red"
    last = await apply(api, "two", size=2)
    assert "color" not in last["spec"]


async def test_an_update_takes_the_fields_that_it_changes(api: Api):
    await apply(api, "one", color="red", size=7)
    await api.admin.merge_patch(WIDGETS, "a", {"spec": {"color": "blue"}}, api.namespace, field_manager="editor")
    error = await refusal(apply(api, "one", color="red", size=7))
    assert causes(error) == {("FieldManagerConflict", ".spec.color")}
    assert 'conflict with "editor" using conformance.moorage.io/v1' in error.message
    back = await apply(api, "one", color="red", size=7, force=True)
    assert back["spec"]["color"] == "red"


async def test_an_applier_that_lets_everything_go_is_forgotten(api: Api):
    await apply(api, "one", color="red")
    await apply(api, "two", size=3)
    left = await apply(api, "two")
    assert entry(left, "two").get("fieldsV1", {}) in ({}, {"f:spec": {}})
    assert left["spec"] == {**DEFAULTS, "color": "red"}


async def test_items_of_a_list_with_several_keys_belong_to_those_who_applied_them(api: Api):
    await apply(api, "one", listeners=[{"port": 53, "protocol": "UDP", "name": "dns"}, {"port": 80, "name": "web"}])
    both = await apply(api, "two", listeners=[{"port": 53, "protocol": "TCP", "name": "dns-tcp"}])
    assert [(each["port"], each["protocol"], each["name"]) for each in both["spec"]["listeners"]] == [
        (53, "UDP", "dns"),
        (80, "TCP", "web"),
        (53, "TCP", "dns-tcp"),
    ]
    keys = entry(both, "two")["fieldsV1"]["f:spec"]["f:listeners"]
    assert keys == {'k:{"port":53,"protocol":"TCP"}': {".": {}, "f:name": {}, "f:port": {}, "f:protocol": {}}}
    left = await apply(api, "one", listeners=[{"port": 80, "name": "web"}])
    assert [(each["port"], each["protocol"]) for each in left["spec"]["listeners"]] == [(80, "TCP"), (53, "TCP")]


async def test_two_appliers_share_an_item_and_own_its_fields_apart(api: Api):
    await apply(api, "one", listeners=[{"port": 80}])
    named = await apply(api, "two", listeners=[{"port": 80, "protocol": "TCP", "name": "web"}])
    assert named["spec"]["listeners"] == [{"port": 80, "protocol": "TCP", "name": "web"}]
    await apply(api, "one", listeners=[{"port": 81}])
    left = await api.admin.get(WIDGETS, "a", api.namespace)
    assert sorted(each["port"] for each in left["spec"]["listeners"]) == [80, 81]
    error = await refusal(apply(api, "one", listeners=[{"port": 80, "name": "other"}]))
    assert causes(error) == {("FieldManagerConflict", '.spec.listeners[port=80,protocol="TCP"].name')}


@pytest.mark.parametrize(
    "spec",
    [
        {"listeners": [{"port": 80}, {"port": 80, "protocol": "TCP"}]},
        {"tags": ["a", "a"]},
    ],
)
async def test_an_applied_list_holds_each_item_once(api: Api, spec):
    error = await refusal(apply(api, "one", **spec))
    assert error.status in {400, 422, 500}
    assert "duplicate" in error.message.lower()


async def test_an_item_without_its_key_is_refused(api: Api):
    error = await refusal(apply(api, "one", listeners=[{"name": "web"}]))
    assert error.status in {400, 422, 500}
    assert "port" in error.message


async def test_members_of_a_set_belong_to_those_who_applied_them(api: Api):
    await apply(api, "one", tags=["a", "b"])
    both = await apply(api, "two", tags=["b", "c"])
    assert both["spec"]["tags"] == ["a", "b", "c"]
    assert entry(both, "two")["fieldsV1"]["f:spec"]["f:tags"] == {'v:"b"': {}, 'v:"c"': {}}
    left = await apply(api, "one", tags=[])
    assert left["spec"]["tags"] == ["b", "c"]


async def test_an_atomic_list_and_an_atomic_map_are_owned_whole(api: Api):
    await apply(api, "one", steps=["x"], selector={"a": "1"})
    error = await refusal(apply(api, "two", steps=["x", "y"], selector={"b": "2"}))
    assert causes(error) == {("FieldManagerConflict", ".spec.steps"), ("FieldManagerConflict", ".spec.selector")}
    taken = await apply(api, "two", steps=["y"], selector={"b": "2"}, force=True)
    assert (taken["spec"]["steps"], taken["spec"]["selector"]) == (["y"], {"b": "2"})


async def test_keys_of_a_map_are_owned_one_by_one(api: Api):
    await apply(api, "one", options={"a": "1"})
    both = await apply(api, "two", options={"b": "2"})
    assert both["spec"]["options"] == {"a": "1", "b": "2"}
    left = await apply(api, "one")
    assert left["spec"]["options"] == {"b": "2"}


async def test_labels_finalizers_and_owners_merge_like_any_field(api: Api):
    (owner,) = await api.make("owner")
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}

    async def put(manager: str, **metadata):
        document = api.config_map("a", **metadata)
        del document["data"]
        return (await api.admin.apply(CONFIGMAPS, document, field_manager=manager))["metadata"]

    await put("one", labels={"a": "1"}, finalizers=["example.com/one"])
    both = await put("two", labels={"b": "2"}, finalizers=["example.com/two"], ownerReferences=[reference])
    assert both["labels"] == {"a": "1", "b": "2"}
    assert sorted(both["finalizers"]) == ["example.com/one", "example.com/two"]
    owned = next(each for each in both["managedFields"] if each["manager"] == "two")["fieldsV1"]["f:metadata"]
    assert list(owned["f:ownerReferences"]) == [f'k:{{"uid":"{owner["metadata"]["uid"]}"}}']
    left = await put("one", labels={"a": "1"})
    assert left["finalizers"] == ["example.com/two"]
    await put("two")


async def test_the_status_is_applied_apart_from_the_rest(api: Api):
    await apply(api, "one", color="red")

    async def report(manager: str, **conditions: str):
        status = {"conditions": [{"type": name, "status": status} for name, status in conditions.items()]}
        document = {**widget("a", api.namespace, color="blue"), "status": status}
        return await api.admin.apply(WIDGETS, document, field_manager=manager, subresource="status")

    reported = await report("one", Ready="True")
    assert reported["spec"]["color"] == "red"
    both = await report("two", Healthy="False")
    assert [each["type"] for each in both["status"]["conditions"]] == ["Ready", "Healthy"]
    assert entry(both, "one", "status")["fieldsV1"].keys() == {"f:status"}
    unchanged = await apply(api, "one", color="red")
    assert unchanged["status"] == both["status"]
    ignored = await api.admin.apply(
        WIDGETS, {**widget("a", api.namespace, color="red"), "status": {"phase": "Forged"}}, field_manager="one"
    )
    assert ignored["status"] == both["status"]
    left = await report("one")
    assert [each["type"] for each in left["status"]["conditions"]] == ["Healthy"]


async def test_a_version_makes_an_apply_conditional(api: Api):
    made = await apply(api, "one", color="red")
    await apply(api, "one", color="blue")
    document = widget("a", api.namespace, color="green")
    document["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"]
    error = await refusal(api.admin.apply(WIDGETS, document, field_manager="one"))
    assert (error.status, error.reason) == (409, "Conflict")


async def test_an_apply_with_a_version_that_nothing_has_makes_a_new_object_and_changes_none(api: Api):
    document = widget("a", api.namespace, color="red")
    document["metadata"]["resourceVersion"] = "1"
    made = await api.admin.apply(WIDGETS, document, field_manager="one")
    assert made["metadata"]["resourceVersion"] != "1"
    document["spec"]["color"] = "blue"
    error = await refusal(api.admin.apply(WIDGETS, document, field_manager="one"))
    assert (error.status, error.reason) == (409, "Conflict")
    assert (await api.admin.get(WIDGETS, "a", api.namespace))["spec"]["color"] == "red"


async def test_an_apply_with_a_uid_makes_no_new_object(api: Api):
    document = widget("a", api.namespace, color="red")
    document["metadata"]["uid"] = "00000000-0000-4000-8000-000000000000"
    error = await refusal(api.admin.apply(WIDGETS, document, field_manager="one"))
    assert (error.status, error.reason) == (409, "Conflict")


async def test_an_apply_with_the_uid_of_another_object_changes_nothing(api: Api):
    made = await apply(api, "one", color="red")
    document = widget("a", api.namespace, color="blue")
    document["metadata"]["uid"] = "00000000-0000-4000-8000-000000000000"
    error = await refusal(api.admin.apply(WIDGETS, document, field_manager="one"))
    assert (error.status, error.reason) == (422, "Invalid")
    assert {cause["field"] for cause in error.details["causes"]} == {"metadata.uid"}
    document["metadata"]["uid"] = made["metadata"]["uid"]
    assert (await api.admin.apply(WIDGETS, document, field_manager="one"))["spec"]["color"] == "blue"


async def test_a_manager_is_taken_out_of_the_list_of_managers_and_the_values_stay(api: Api):
    await apply(api, "one", color="red")
    both = await apply(api, "two", size=3)
    left = [entry for entry in both["metadata"]["managedFields"] if entry["manager"] != "one"]
    version = both["metadata"]["resourceVersion"]
    patch = {"metadata": {"managedFields": left, "resourceVersion": version}}
    released = await api.admin.merge_patch(WIDGETS, "a", patch, api.namespace, field_manager="one")
    assert [entry["manager"] for entry in released["metadata"]["managedFields"]] == ["two"]
    assert released["spec"]["color"] == "red"
    again = await apply(api, "three", color="green")
    assert again["spec"]["color"] == "green"


@pytest.mark.parametrize(
    ("params", "change", "status"),
    [
        ({}, {}, 422),  # no field manager
        ({"fieldManager": "one"}, {"metadata": {"managedFields": [{"manager": "x"}]}}, 400),
        ({"fieldManager": "one"}, {"metadata": {"name": "b"}}, 400),
        ({"fieldManager": "one"}, {"kind": "Gadget"}, 400),
        ({"fieldManager": "one"}, {"kind": ""}, 400),
        ({"fieldManager": "one"}, {"apiVersion": ""}, 400),
        ({"fieldManager": "x" * 129}, {}, 422),
    ],
)
async def test_what_cannot_be_applied_is_refused(api: Api, params, change, status):
    document = widget("a", api.namespace)
    document = {**document, **change, "metadata": {**document["metadata"], **change.get("metadata", {})}}
    path = WIDGETS.path(api.namespace, "a")
    error = await refusal(api.admin.request("PATCH", path, params=params, body=document, content_type=APPLY))
    assert error.status == status, error


async def test_force_is_for_apply_alone(api: Api):
    await api.make("a")
    error = await refusal(
        api.admin.request(
            "PATCH",
            CONFIGMAPS.path(api.namespace, "a"),
            params={"force": True},
            body={"data": {}},
            content_type="application/merge-patch+json",
        )
    )
    assert error.status == 422
    assert "force" in error.message


async def test_an_apply_may_be_written_in_yaml(api: Api):
    body = f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  namespace: {api.namespace}\ndata: {{k: v}}\n"
    path = CONFIGMAPS.path(api.namespace, "a")
    await api.admin.request("PATCH", path, params={"fieldManager": "one"}, body=body.encode(), content_type=APPLY)
    assert (await api.admin.get(CONFIGMAPS, "a", api.namespace))["data"] == {"k": "v"}


async def test_what_was_applied_in_an_older_version_is_still_its_owners(api: Api):
    old = {**widget("a", api.namespace, color="red", size=3), "apiVersion": OLD_WIDGETS.api_version}
    await api.admin.apply(OLD_WIDGETS, old, field_manager="one")
    changed = await apply(api, "one", size=3)
    assert changed["spec"] == {**DEFAULTS, "size": 3}
    appliers = [each["apiVersion"] for each in changed["metadata"]["managedFields"] if each["operation"] == "Apply"]
    assert appliers == [WIDGETS.api_version]


async def test_who_manages_what_can_be_reset(api: Api):
    await apply(api, "one", color="red")
    reset = await api.admin.merge_patch(WIDGETS, "a", {"metadata": {"managedFields": [{}]}}, api.namespace)
    assert not entry(reset, "one")
