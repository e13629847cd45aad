"""CustomResourceDefinitions themselves: acceptance, refusal, versions that come and go, and the end of a kind."""

import copy

import msgspec
import pytest

from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import CRDS, Resource
from tests.conformance.api import Api, causes, json_patch, refusal, until, watching
from tests.conformance.widgets import GROUP as WIDGET_GROUP
from tests.conformance.widgets import definition

GROUP = "definitions.moorage.io"
FINALIZER = "example.com/hold"
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
STRUCTURAL = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}}}


def gadgets(api: Api, **spec) -> tuple[Resource, dict]:
    """A kind that is this case's own, and its definition."""
    plural = f"gadgets{api.namespace.replace('-', '')}"
    names = {"plural": plural, "singular": f"{plural}one", "kind": plural.capitalize()}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": copy.deepcopy(STRUCTURAL)}}
    document = {
        "apiVersion": CRDS.api_version,
        "kind": CRDS.kind,
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version], **spec},
    }
    return Resource(GROUP, "v1", plural, kind=names["kind"]), document


def conditions(document: dict) -> dict[str, str]:
    return {each["type"]: each["status"] for each in (document.get("status") or {}).get("conditions") or ()}


async def is_served(client: Client, resource: Resource) -> bool:
    try:
        await client.list(resource)
    except ApiError as error:
        if error.not_found or error.transient:
            return False
        raise
    return True


async def serve(api: Api, **metadata) -> Resource:
    resource, document = gadgets(api)
    document["metadata"] |= metadata
    await api.admin.create(CRDS, document)
    await until(lambda: is_served(api.admin, resource), f"{resource.name} is served")
    return resource


def thing(api: Api, resource: Resource, name: str, **metadata) -> dict:
    """An object of a kind that is this case's own."""
    named = {"name": name, "namespace": api.namespace}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {**named, **metadata}}


async def release(api: Api, resource: Resource, name: str, namespace: str = "") -> None:
    await api.admin.merge_patch(resource, name, {"metadata": {"finalizers": None}}, namespace)


async def gone(api: Api, definition: str) -> None:
    async def absent():
        try:
            await api.admin.get(CRDS, definition)
        except ApiError as error:
            return error.not_found
        return False

    await until(absent, f"the definition {definition} is gone")


async def test_an_accepted_definition_says_so_and_what_it_stores(api: Api):
    found = await api.admin.get(CRDS, f"widgets.{WIDGET_GROUP}")
    assert conditions(found).items() >= {"NamesAccepted": "True", "Established": "True"}.items()
    assert found["status"]["acceptedNames"]["kind"] == "Widget"
    assert found["status"]["storedVersions"] == ["v1"]
    assert found["spec"]["conversion"] == {"strategy": "None"}


async def test_names_that_were_left_out_are_made(api: Api):
    resource, document = gadgets(api)
    del document["spec"]["names"]["singular"]
    made = await api.admin.create(CRDS, document)
    assert made["spec"]["names"]["singular"] == resource.kind.lower()
    assert made["spec"]["names"]["listKind"] == f"{resource.kind}List"
    await api.admin.delete(CRDS, resource.name)


async def test_applying_a_definition_again_changes_nothing(api: Api):
    first = await api.admin.apply(CRDS, definition(), force=True)
    again = await api.admin.apply(CRDS, definition(), force=True)
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


BAD = {
    "another name": (lambda crd: crd["metadata"].update(name=f"others.{GROUP}"), "metadata.name"),
    "no versions": (lambda crd: crd["spec"].update(versions=[]), "spec.versions"),
    "nothing stored": (lambda crd: crd["spec"]["versions"][0].update(storage=False), "exactly one version"),
    "no schema": (lambda crd: crd["spec"]["versions"][0].pop("schema"), "schema"),
    "unknown scope": (lambda crd: crd["spec"].update(scope="Everywhere"), "spec.scope"),
    "no type": (lambda crd: schema(crd).pop("type"), "type"),
    "unknown type": (lambda crd: spec_of(crd)["properties"].update(a={"type": "text"}), "type"),
    "a list of nothing": (lambda crd: spec_of(crd)["properties"].update(a={"type": "array"}), "items"),
    "a default that breaks the schema": (
        lambda crd: spec_of(crd)["properties"].update(a={"type": "string", "default": 1}),
        "default",
    ),
    "keys that are no fields": (
        lambda crd: spec_of(crd)["properties"].update(
            a={
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {"other": {"type": "string"}}},
            }
        ),
        "name",
    ),
    "a rule that does not compile": (
        lambda crd: spec_of(crd).update({"x-kubernetes-validations": [{"rule": "self.absent == 1"}]}),
        "undefined field 'absent'",
    ),
    "a rule that is no condition": (
        lambda crd: spec_of(crd).update({"x-kubernetes-validations": [{"rule": "'text'"}]}),
        "must evaluate to a bool",
    ),
    "the plural in capitals": (lambda crd: crd["spec"]["names"].update(plural="Gadgets"), "spec.names.plural"),
    "two versions of one name": (
        lambda crd: crd["spec"]["versions"].append({**crd["spec"]["versions"][0], "storage": False}),
        "spec.versions",
    ),
}


def schema(crd: dict) -> dict:
    return crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def spec_of(crd: dict) -> dict:
    return schema(crd)["properties"]["spec"]


@pytest.mark.parametrize("name", BAD)
async def test_a_definition_that_cannot_be_served_is_refused(api: Api, name):
    _, document = gadgets(api)
    spoil, words = BAD[name]
    spoil(document)
    error = await refusal(api.admin.create(CRDS, document))
    assert (error.status, error.reason) == (422, "Invalid")
    assert words in error.message


async def test_two_kinds_cannot_have_the_same_names(api: Api):
    _, document = gadgets(api)
    document["metadata"]["name"] = document["metadata"]["name"].replace(GROUP, WIDGET_GROUP)
    document["spec"]["group"] = WIDGET_GROUP
    document["spec"]["names"]["kind"] = "Widget"
    made = await api.admin.create(CRDS, document)
    name = made["metadata"]["name"]

    async def judged():
        return conditions(await api.admin.get(CRDS, name)).get("NamesAccepted")

    assert await until(judged, "the names are judged") == "False"
    assert conditions(await api.admin.get(CRDS, name)).get("Established") != "True"
    await api.admin.delete(CRDS, name)


async def test_a_version_that_is_no_longer_served_is_not_found(api: Api):
    resource, document = gadgets(api)
    old = {**document["spec"]["versions"][0], "name": "v1alpha1", "storage": False}
    document["spec"]["versions"].append(old)
    await api.admin.create(CRDS, document)
    before = Resource(GROUP, "v1alpha1", resource.plural)
    await until(lambda: is_served(api.admin, before), "the old version is served")
    operations = [{"op": "replace", "path": "/spec/versions/1/served", "value": False}]
    await json_patch(api.admin, CRDS, resource.name, operations)

    async def ended():
        return not await is_served(api.admin, before)

    await until(ended, "the old version is not served")
    assert await is_served(api.admin, resource)
    await api.admin.delete(CRDS, resource.name)


async def test_a_version_that_was_stored_stays_until_a_migration_says_that_nothing_is_left_in_it(api: Api):
    resource, document = gadgets(api)
    (old,) = document["spec"]["versions"]
    await api.admin.create(CRDS, document)
    await until(lambda: is_served(api.admin, resource), f"{resource.name} is served")
    new = {**old, "name": "v2"}

    async def have(*versions: dict) -> None:
        operations = [{"op": "replace", "path": "/spec/versions", "value": list(versions)}]
        await json_patch(api.admin, CRDS, resource.name, operations)

    async def stored() -> list[str]:
        return (await api.admin.get(CRDS, resource.name))["status"]["storedVersions"]

    await have({**old, "storage": False}, new)
    await until(stored, "both are stored", holds=lambda found: found == ["v1", "v2"])
    error = await refusal(have(new))
    assert (error.status, error.reason) == (422, "Invalid")
    assert causes(error) == {("FieldValueInvalid", "status.storedVersions[0]")}
    assert "missing from spec.versions" in error.message
    migrated = {"status": {"storedVersions": ["v2"]}}
    await api.admin.merge_patch(CRDS, resource.name, migrated, subresource="status")
    await have(new)
    assert await stored() == ["v2"]
    await api.admin.delete(CRDS, resource.name)


async def test_what_is_stored_gets_defaults_that_came_later(api: Api):
    resource = await serve(api)
    await api.admin.create(resource, thing(api, resource, "a") | {"spec": {}})
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/a/default"
    await json_patch(api.admin, CRDS, resource.name, [{"op": "add", "path": path, "value": "late"}])

    async def filled_in():
        return (await api.admin.get(resource, "a", api.namespace))["spec"] == {"a": "late"}

    await until(filled_in, "the default is read")
    await api.admin.delete(CRDS, resource.name)


async def test_the_end_of_a_kind_is_the_end_of_its_objects_and_watches(api: Api):
    resource = await serve(api)
    await api.admin.create(resource, thing(api, resource, "a"))
    start = (await api.admin.list(resource)).version
    async with watching(api.admin, resource, resourceVersion=start, timeoutSeconds=60) as events:
        await api.admin.delete(CRDS, resource.name)
        assert await events.change() == ("DELETED", "a")
        assert await events.rest() == []

    async def ended():
        return not await is_served(api.admin, resource)

    await until(ended, "the kind is not served")


async def test_a_definition_waits_for_the_finalizers_of_its_objects_and_takes_nothing_new(api: Api):
    resource = await serve(api)
    await api.admin.create(resource, thing(api, resource, "held", finalizers=[FINALIZER]))
    await api.admin.create(resource, thing(api, resource, "free"))
    await api.admin.delete(CRDS, resource.name)

    async def only_one_is_left():
        (*others, held) = (await api.admin.list(resource, api.namespace)).items
        return not others and held["metadata"].get("deletionTimestamp")

    await until(only_one_is_left, "what nothing holds is gone, and what is held is being deleted")
    ending = await api.admin.get(CRDS, resource.name)
    assert ending["metadata"]["deletionTimestamp"]
    assert ending["metadata"]["finalizers"] == [CLEANUP]
    assert conditions(ending).items() >= {"Established": "True", "Terminating": "True"}.items()

    new = thing(api, resource, "new")
    for creation in (api.admin.create(resource, new), api.admin.apply(resource, new)):
        error = await refusal(creation)
        assert (error.status, error.reason) == (403, "Forbidden")
        why = "create not allowed while custom resource definition is terminating"
        assert error.message == f'{resource.name} "new" is forbidden: {why}'
    changed = await api.admin.merge_patch(resource, "held", {"spec": {"a": "b"}}, api.namespace)
    assert changed["spec"] == {"a": "b"}

    await release(api, resource, "held", api.namespace)
    await gone(api, resource.name)


async def test_a_kind_that_is_going_is_listed_without_the_verbs_that_make_or_change(api: Api):
    resource = await serve(api)
    await api.admin.create(resource, thing(api, resource, "held", finalizers=[FINALIZER]))
    await api.admin.delete(CRDS, resource.name)

    async def verbs():
        answer = await api.admin.request("GET", f"/apis/{GROUP}/v1")
        (found,) = (each for each in msgspec.json.decode(answer)["resources"] if each["name"] == resource.plural)
        return set(found["verbs"]) == {"delete", "deletecollection", "get", "list", "watch"}

    await until(verbs, "the verbs are those of a kind that is going")
    await release(api, resource, "held", api.namespace)
    await gone(api, resource.name)


async def test_a_definition_that_is_being_deleted_cannot_be_made_again(api: Api):
    resource = await serve(api)
    await api.admin.create(resource, thing(api, resource, "held", finalizers=[FINALIZER]))
    await api.admin.delete(CRDS, resource.name)
    _, document = gadgets(api)
    error = await refusal(api.admin.create(CRDS, document))
    assert (error.status, error.reason) == (409, "AlreadyExists")
    assert error.message.startswith("object is being deleted: ")
    await release(api, resource, "held", api.namespace)
    await gone(api, resource.name)
    await api.admin.create(CRDS, document)
    await api.admin.delete(CRDS, resource.name)


async def test_a_definition_can_be_held_when_its_objects_are_gone(api: Api):
    resource = await serve(api, finalizers=[FINALIZER])
    await api.admin.create(resource, thing(api, resource, "a"))
    await api.admin.delete(CRDS, resource.name)

    async def emptied():
        return conditions(await api.admin.get(CRDS, resource.name)).get("Terminating") == "False"

    await until(emptied, "its objects are gone")
    assert (await api.admin.get(CRDS, resource.name))["metadata"]["finalizers"] == [FINALIZER]
    assert await api.names(resource) == []
    await release(api, CRDS, resource.name)
    await gone(api, resource.name)


@pytest.mark.parametrize("field", ["group", "scope"])
async def test_group_and_scope_are_for_good(api: Api, field):
    resource = await serve(api)
    change = {"group": "other.example.com", "scope": "Cluster"}[field]
    error = await refusal(api.admin.merge_patch(CRDS, resource.name, {"spec": {field: change}}))
    assert error.status == 422
    assert f"spec.{field}" in error.message or "metadata.name" in error.message
    await api.admin.delete(CRDS, resource.name)
