"""Deletion: finalizers, owners and their dependents, namespaces and their end."""

import pytest

from shared.kube.errors import ApiError
from shared.kube.resources import CONFIGMAPS, NAMESPACES
from tests.conformance.api import Api, refusal, until, watching
from tests.conformance.widgets import WIDGETS, widget

FINALIZER = "example.com/hold"
NO_SUCH_UID = "00000000-0000-4000-8000-000000000000"


def owned_by(owner: dict, **more) -> list[dict]:
    identity = {"name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
    return [{"apiVersion": "v1", "kind": "ConfigMap", **identity, **more}]


async def release(api: Api, name: str) -> None:
    await api.admin.merge_patch(CONFIGMAPS, name, {"metadata": {"finalizers": None}}, api.namespace)


async def gone(api: Api, *names: str) -> None:
    async def absent():
        return not set(names) & set(await api.names())

    await until(absent, f"{', '.join(names)} gone")


async def test_a_deleted_object_is_gone_and_its_name_is_free(api: Api):
    (first,) = await api.make("a")
    await api.admin.delete(CONFIGMAPS, "a", api.namespace)
    assert not await api.exists(CONFIGMAPS, "a")
    (second,) = await api.make("a")
    assert second["metadata"]["uid"] != first["metadata"]["uid"]


@pytest.mark.parametrize("precondition", ["uid", "resource_version"])
async def test_a_deletion_may_be_conditional(api: Api, precondition):
    (made,) = await api.make("a")
    right = {"uid": made["metadata"]["uid"], "resource_version": made["metadata"]["resourceVersion"]}
    wrong = {"uid": NO_SUCH_UID, "resource_version": "1"}
    deletion = api.admin.delete(CONFIGMAPS, "a", api.namespace, **{precondition: wrong[precondition]})
    error = await refusal(deletion)
    assert (error.status, error.reason) == (409, "Conflict")
    await api.admin.delete(CONFIGMAPS, "a", api.namespace, **{precondition: right[precondition]})
    assert not await api.exists(CONFIGMAPS, "a")


async def test_a_finalizer_holds_an_object_until_it_is_removed(api: Api):
    (made,) = await api.make("a", finalizers=[FINALIZER])
    start = made["metadata"]["resourceVersion"]
    async with watching(api.admin, CONFIGMAPS, api.namespace, resourceVersion=start) as events:
        await api.admin.delete(CONFIGMAPS, "a", api.namespace)
        held = await api.admin.get(CONFIGMAPS, "a", api.namespace)
        assert held["metadata"]["deletionTimestamp"].endswith("Z")
        assert held["metadata"]["deletionGracePeriodSeconds"] == 0
        assert held["metadata"]["finalizers"] == [FINALIZER]
        await release(api, "a")
        assert not await api.exists(CONFIGMAPS, "a")
        assert [(await events.change())[0] for _ in range(2)] == ["MODIFIED", "DELETED"]


async def test_deleting_what_is_being_deleted_changes_nothing(api: Api):
    await api.make("a", finalizers=[FINALIZER])
    await api.admin.delete(CONFIGMAPS, "a", api.namespace)
    first = await api.admin.get(CONFIGMAPS, "a", api.namespace)
    await api.admin.delete(CONFIGMAPS, "a", api.namespace)
    again = await api.admin.get(CONFIGMAPS, "a", api.namespace)
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    await release(api, "a")


async def test_what_is_being_deleted_can_be_changed_but_takes_no_new_finalizer(api: Api):
    await api.make("a", finalizers=[FINALIZER])
    await api.admin.delete(CONFIGMAPS, "a", api.namespace)
    changed = await api.admin.merge_patch(CONFIGMAPS, "a", {"data": {"k": "v"}}, api.namespace)
    assert changed["data"] == {"k": "v"}
    more = {"metadata": {"finalizers": [FINALIZER, "example.com/more"]}}
    error = await refusal(api.admin.merge_patch(CONFIGMAPS, "a", more, api.namespace))
    assert error.status == 422
    assert "no new finalizers can be added if the object is being deleted" in error.message
    await release(api, "a")


async def test_a_deletion_timestamp_cannot_be_set_or_taken_back(api: Api):
    await api.make("a", finalizers=[FINALIZER])
    forged = {"metadata": {"deletionTimestamp": "2030-01-01T00:00:00Z"}}
    error = await refusal(api.admin.merge_patch(CONFIGMAPS, "a", forged, api.namespace))
    assert "metadata.deletionTimestamp: Invalid value" in error.message
    await api.admin.delete(CONFIGMAPS, "a", api.namespace)
    revived = {"metadata": {"deletionTimestamp": None}}
    changed = await api.admin.merge_patch(CONFIGMAPS, "a", revived, api.namespace)
    assert changed["metadata"]["deletionTimestamp"]
    await release(api, "a")


async def test_a_collection_is_deleted_through_a_selector(api: Api):
    await api.make("a", "b", labels={"doomed": "yes"})
    await api.make("c")
    await api.admin.request("DELETE", CONFIGMAPS.path(api.namespace), params={"labelSelector": "doomed=yes"})
    assert await api.names() == ["c"]


async def test_the_generation_of_a_custom_object_counts_its_deletion(api: Api):
    made = widget("a", api.namespace)
    made["metadata"]["finalizers"] = [FINALIZER]
    await api.admin.create(WIDGETS, made)
    await api.admin.delete(WIDGETS, "a", api.namespace)
    held = await api.admin.get(WIDGETS, "a", api.namespace)
    assert held["metadata"]["generation"] == 2
    await api.admin.merge_patch(WIDGETS, "a", {"metadata": {"finalizers": None}}, api.namespace)


async def test_dependents_go_with_their_owner(api: Api):
    (owner,) = await api.make("owner")
    await api.make("child", ownerReferences=owned_by(owner))
    (child,) = [await api.admin.get(CONFIGMAPS, "child", api.namespace)]
    await api.make("grandchild", ownerReferences=owned_by(child))
    await api.admin.delete(CONFIGMAPS, "owner", api.namespace)
    await gone(api, "child", "grandchild")


async def test_an_orphan_stays_and_forgets_its_owner(api: Api):
    (owner,) = await api.make("owner")
    await api.make("child", ownerReferences=owned_by(owner))
    await api.admin.delete(CONFIGMAPS, "owner", api.namespace, propagation="Orphan")
    await gone(api, "owner")
    child = await api.admin.get(CONFIGMAPS, "child", api.namespace)
    assert not child["metadata"].get("ownerReferences")


async def test_in_the_foreground_the_owner_goes_last(api: Api):
    (owner,) = await api.make("owner")
    await api.make("child", ownerReferences=owned_by(owner, blockOwnerDeletion=True), finalizers=[FINALIZER])
    await api.admin.delete(CONFIGMAPS, "owner", api.namespace, propagation="Foreground")

    async def child_is_marked():
        return (await api.admin.get(CONFIGMAPS, "child", api.namespace))["metadata"].get("deletionTimestamp")

    await until(child_is_marked, "the child is being deleted")
    waiting = await api.admin.get(CONFIGMAPS, "owner", api.namespace)
    assert "foregroundDeletion" in waiting["metadata"]["finalizers"]
    await release(api, "child")
    await gone(api, "child", "owner")


async def test_a_dependent_of_two_owners_stays_with_the_other(api: Api):
    one, two = await api.make("one", "two")
    await api.make("child", ownerReferences=owned_by(one) + owned_by(two))
    await api.admin.delete(CONFIGMAPS, "one", api.namespace)

    async def released():
        child = await api.admin.get(CONFIGMAPS, "child", api.namespace)
        return [each["name"] for each in child["metadata"]["ownerReferences"]] == ["two"]

    await until(released, "the child belongs to the other alone")
    await api.admin.delete(CONFIGMAPS, "two", api.namespace)
    await gone(api, "child")


async def test_a_dependent_of_nobody_is_collected(api: Api):
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "absent", "uid": NO_SUCH_UID}
    await api.make("child", ownerReferences=[reference])
    await gone(api, "child")


async def test_custom_objects_are_collected_with_their_owner_too(api: Api):
    (owner,) = await api.make("owner")
    child = widget("child", api.namespace)
    child["metadata"]["ownerReferences"] = owned_by(owner)
    await api.admin.create(WIDGETS, child)
    await api.admin.delete(CONFIGMAPS, "owner", api.namespace)

    async def absent():
        return not await api.exists(WIDGETS, "child")

    await until(absent, "the widget is gone")


async def namespace_gone(api: Api) -> None:
    async def absent():
        try:
            await api.admin.get(NAMESPACES, api.namespace)
        except ApiError as error:
            return error.not_found
        return False

    await until(absent, "the namespace is gone")


async def test_a_namespace_takes_its_content_with_it(api: Api):
    await api.make("a")
    await api.admin.create(WIDGETS, widget("w", api.namespace))
    await api.admin.delete(NAMESPACES, api.namespace)
    await namespace_gone(api)
    assert await api.names() == []
    assert await api.names(WIDGETS) == []


async def test_a_namespace_waits_for_finalizers_and_takes_nothing_new(api: Api):
    await api.make("a", finalizers=[FINALIZER])
    await api.admin.delete(NAMESPACES, api.namespace)
    ending = await api.admin.get(NAMESPACES, api.namespace)
    assert ending["status"]["phase"] == "Terminating"
    assert ending["metadata"]["deletionTimestamp"]

    async def content_is_marked():
        return (await api.admin.get(CONFIGMAPS, "a", api.namespace))["metadata"].get("deletionTimestamp")

    await until(content_is_marked, "the content is being deleted")
    error = await refusal(api.make("b"))
    assert (error.status, error.reason) == (403, "Forbidden")
    assert "because it is being terminated" in error.message
    assert [each["reason"] for each in error.details["causes"]] == ["NamespaceTerminating"]
    await release(api, "a")
    await namespace_gone(api)


@pytest.mark.parametrize("name", ["default", "kube-system"])
async def test_some_namespaces_stay(api: Api, name):
    error = await refusal(api.admin.delete(NAMESPACES, name))
    assert (error.status, error.reason) == (403, "Forbidden")
