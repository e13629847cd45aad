"""Who may do what: tokens, RBAC, and the reviews by which others ask."""

import dataclasses

import pytest

from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.resources import CONFIGMAPS, NAMESPACES, SUBJECTACCESSREVIEWS, Resource
from tests.conformance.api import Api, document, refusal, until
from tests.conformance.backends import STRANGER
from tests.conformance.widgets import WIDGETS, widget

RBAC = ("rbac.authorization.k8s.io", "v1")
ROLES = Resource(*RBAC, "roles", kind="Role")
ROLE_BINDINGS = Resource(*RBAC, "rolebindings", kind="RoleBinding")
CLUSTER_ROLES = Resource(*RBAC, "clusterroles", False, "ClusterRole")
CLUSTER_ROLE_BINDINGS = Resource(*RBAC, "clusterrolebindings", False, "ClusterRoleBinding")
SELF_REVIEWS = Resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews", False, "SelfSubjectAccessReview")
LOCAL_REVIEWS = Resource("authorization.k8s.io", "v1", "localsubjectaccessreviews", True, "LocalSubjectAccessReview")
RULES_REVIEWS = Resource("authorization.k8s.io", "v1", "selfsubjectrulesreviews", False, "SelfSubjectRulesReview")
WHO_AM_I = Resource("authentication.k8s.io", "v1", "selfsubjectreviews", False, "SelfSubjectReview")


def subject(kind: str = "User", name: str = STRANGER) -> dict[str, str]:
    return {"kind": kind, "name": name, "apiGroup": RBAC[0]}


def reference(kind: str, name: str) -> dict[str, str]:
    return {"apiGroup": RBAC[0], "kind": kind, "name": name}


def rule(*verbs: str, resources: str = "configmaps", group: str = "", names: list[str] | None = None) -> dict:
    return {
        "verbs": verbs,
        "apiGroups": [group],
        "resources": [resources],
        **({"resourceNames": names} if names else {}),
    }


async def grant(api: Api, *rules: dict, who: dict[str, str] | None = None) -> None:
    """Let the stranger do something in this case's namespace."""
    await api.admin.create(ROLES, document(ROLES, "role", api.namespace, rules=rules))
    binding = document(
        ROLE_BINDINGS, "binding", api.namespace, roleRef=reference("Role", "role"), subjects=[who or subject()]
    )
    await api.admin.create(ROLE_BINDINGS, binding)


async def asks(api: Api, user: str = STRANGER, groups: tuple[str, ...] = (), **attributes) -> bool:
    """What a SubjectAccessReview says."""
    spec = {"user": user, "groups": groups, "resourceAttributes": {"namespace": api.namespace, **attributes}}
    answer = await api.admin.create(SUBJECTACCESSREVIEWS, document(SUBJECTACCESSREVIEWS, spec=spec))
    return bool(answer["status"]["allowed"])


async def is_allowed(api: Api, **attributes) -> None:
    """Wait until it is: an authorizer reads its rules from a cache."""
    await until(lambda: asks(api, **attributes), f"{attributes} is allowed")


async def test_a_token_that_nobody_issued_is_nobody(api: Api):
    credentials = dataclasses.replace(load_kubeconfig(api.backend.admin), token="forged", certificate=None, key=None)
    async with Client(credentials, timeout=30) as forger:
        error = await refusal(forger.list(CONFIGMAPS, api.namespace))
    assert (error.status, error.reason) == (401, "Unauthorized")


async def test_a_stranger_may_do_nothing_and_is_told_what(api: Api, stranger: Client):
    await api.make("a")
    error = await refusal(stranger.get(CONFIGMAPS, "a", api.namespace))
    assert (error.status, error.reason) == (403, "Forbidden")
    assert error.message.removesuffix(": access denied") == (  # as a workspace says
        f'configmaps "a" is forbidden: User "{STRANGER}" cannot get resource "configmaps" in API group "" '
        f'in the namespace "{api.namespace}"'
    )
    error = await refusal(stranger.list(NAMESPACES))
    assert 'cannot list resource "namespaces" in API group "" at the cluster scope' in error.message
    error = await refusal(stranger.create(WIDGETS, widget("a", api.namespace)))
    assert error.message.startswith("widgets.conformance.moorage.io is forbidden:")


async def test_a_stranger_is_not_told_what_exists(api: Api, stranger: Client):
    assert (await refusal(stranger.get(CONFIGMAPS, "absent", api.namespace))).status == 403


async def test_everybody_may_see_what_is_served(api: Api, stranger: Client):
    for path in ("/api", "/apis", "/version", "/openapi/v3"):
        await stranger.request("GET", path)


async def test_a_role_allows_its_verbs_in_its_namespace_alone(api: Api, stranger: Client):
    await api.make("a")
    await grant(api, rule("get", "list"))
    await is_allowed(api, verb="get", resource="configmaps")
    assert (await stranger.get(CONFIGMAPS, "a", api.namespace))["metadata"]["name"] == "a"
    await stranger.list(CONFIGMAPS, api.namespace)
    for call in (
        stranger.create(CONFIGMAPS, api.config_map("b")),
        stranger.delete(CONFIGMAPS, "a", api.namespace),
        stranger.merge_patch(CONFIGMAPS, "a", {"data": {}}, api.namespace),
        stranger.list(CONFIGMAPS, "default"),
        stranger.list(CONFIGMAPS),
    ):
        assert (await refusal(call)).status == 403


async def test_watching_is_a_verb_of_its_own(api: Api, stranger: Client):
    await grant(api, rule("get", "list"))
    await is_allowed(api, verb="list", resource="configmaps")
    params = {"watch": True, "timeoutSeconds": 1}
    error = await refusal(stranger.request("GET", CONFIGMAPS.path(api.namespace), params=params))
    assert (error.status, "cannot watch" in error.message) == (403, True)


async def test_a_role_may_be_for_some_names_alone(api: Api, stranger: Client):
    await api.make("a", "b")
    await grant(api, rule("get", "list", "watch", names=["a"]))
    await is_allowed(api, verb="get", resource="configmaps", name="a")
    await stranger.get(CONFIGMAPS, "a", api.namespace)
    assert (await refusal(stranger.get(CONFIGMAPS, "b", api.namespace))).status == 403
    assert (await refusal(stranger.list(CONFIGMAPS, api.namespace))).status == 403
    page = await stranger.list(CONFIGMAPS, api.namespace, field_selector="metadata.name=a")
    assert [each["metadata"]["name"] for each in page.items] == ["a"]


async def test_a_subresource_is_allowed_apart(api: Api, stranger: Client):
    await api.admin.create(WIDGETS, widget("a", api.namespace))
    await grant(api, rule("patch", resources="widgets/status", group=WIDGETS.group))
    await is_allowed(api, verb="patch", group=WIDGETS.group, resource="widgets", subresource="status")
    await stranger.merge_patch(WIDGETS, "a", {"status": {"phase": "Up"}}, api.namespace, subresource="status")
    error = await refusal(stranger.merge_patch(WIDGETS, "a", {"spec": {"size": 2}}, api.namespace))
    assert error.status == 403


async def test_an_apply_that_creates_needs_both_verbs(api: Api, stranger: Client):
    await grant(api, rule("patch"))
    await is_allowed(api, verb="patch", resource="configmaps")
    error = await refusal(stranger.apply(CONFIGMAPS, api.config_map("a")))
    assert (error.status, "cannot create" in error.message) == (403, True)
    await api.make("a")
    await stranger.apply(CONFIGMAPS, api.config_map("a", {"k": "v"}))


@pytest.mark.parametrize(
    "who", [subject("Group", "strangers"), subject("Group", "system:authenticated")], ids=lambda who: who["name"]
)
async def test_groups_have_rights(api: Api, stranger: Client, who):
    await grant(api, rule("list"), who=who)
    await until(lambda: asks(api, groups=(who["name"],), verb="list", resource="configmaps"), "the group may")
    await stranger.list(CONFIGMAPS, api.namespace)


async def test_a_cluster_role_is_lent_to_one_namespace_by_a_role_binding(api: Api, stranger: Client):
    name = f"reader-{api.namespace}"
    await api.admin.create(CLUSTER_ROLES, document(CLUSTER_ROLES, name, rules=[rule("list")]))
    binding = document(ROLE_BINDINGS, "b", api.namespace, roleRef=reference("ClusterRole", name), subjects=[subject()])
    await api.admin.create(ROLE_BINDINGS, binding)
    await is_allowed(api, verb="list", resource="configmaps")
    await stranger.list(CONFIGMAPS, api.namespace)
    assert (await refusal(stranger.list(CONFIGMAPS))).status == 403


async def test_a_cluster_role_gathers_the_rules_of_others_by_their_labels(api: Api):
    name = api.namespace
    gathering = {"clusterRoleSelectors": [{"matchLabels": {"gathered": name}}]}
    await api.admin.create(CLUSTER_ROLES, document(CLUSTER_ROLES, name, aggregationRule=gathering))
    binding = document(CLUSTER_ROLE_BINDINGS, name, roleRef=reference("ClusterRole", name), subjects=[subject()])
    await api.admin.create(CLUSTER_ROLE_BINDINGS, binding)
    entering = {"nonResourceURLs": ["/"], "verbs": ["access"]}
    part = document(CLUSTER_ROLES, f"{name}-part", rules=[rule("list"), entering])
    part["metadata"]["labels"] = {"gathered": name}
    await api.admin.create(CLUSTER_ROLES, part)
    await until(lambda: asks(api, verb="list", resource="configmaps"), "what is gathered is allowed")
    assert not await asks(api, verb="create", resource="configmaps")
    await api.admin.delete(CLUSTER_ROLES, f"{name}-part")
    await until(
        lambda: asks(api, verb="list", resource="configmaps"), "it is not any more", holds=lambda allowed: not allowed
    )
    await api.admin.delete(CLUSTER_ROLE_BINDINGS, name)
    await api.admin.delete(CLUSTER_ROLES, name)


async def test_a_cluster_role_binding_holds_everywhere_until_it_is_gone(api: Api, stranger: Client):
    name = f"everywhere-{api.namespace}"
    await api.admin.create(CLUSTER_ROLES, document(CLUSTER_ROLES, name, rules=[rule("list", resources="*", group="*")]))
    binding = document(CLUSTER_ROLE_BINDINGS, name, roleRef=reference("ClusterRole", name), subjects=[subject()])
    await api.admin.create(CLUSTER_ROLE_BINDINGS, binding)
    await is_allowed(api, verb="list", resource="configmaps")
    await stranger.list(CONFIGMAPS)
    await stranger.list(WIDGETS)
    await api.admin.delete(CLUSTER_ROLE_BINDINGS, name)

    async def refused():
        return not await asks(api, verb="list", resource="configmaps")

    await until(refused, "the right is taken back")
    assert (await refusal(stranger.list(CONFIGMAPS))).status == 403
    await api.admin.delete(CLUSTER_ROLES, name)


async def test_the_role_of_a_binding_is_for_good(api: Api):
    await grant(api, rule("get"))
    change = {"roleRef": reference("Role", "other")}
    error = await refusal(api.admin.merge_patch(ROLE_BINDINGS, "binding", change, api.namespace))
    assert error.status == 422
    assert "cannot change roleRef" in error.message


async def test_nobody_gives_rights_that_he_has_not(api: Api, stranger: Client):
    manage = rule("create", resources="roles", group=RBAC[0])
    await grant(api, manage)
    await is_allowed(api, verb="create", group=RBAC[0], resource="roles")
    error = await refusal(stranger.create(ROLES, document(ROLES, "more", api.namespace, rules=[rule("delete")])))
    assert error.status == 403
    assert "attempting to grant RBAC permissions not currently held" in error.message
    await stranger.create(ROLES, document(ROLES, "same", api.namespace, rules=[manage]))


async def test_a_user_can_ask_for_itself(api: Api, stranger: Client):
    await grant(api, rule("get"))
    await is_allowed(api, verb="get", resource="configmaps")
    for verb, allowed in (("get", True), ("delete", False)):
        attributes = {"namespace": api.namespace, "verb": verb, "resource": "configmaps"}
        review = document(SELF_REVIEWS, spec={"resourceAttributes": attributes})
        assert (await stranger.create(SELF_REVIEWS, review))["status"]["allowed"] is allowed


async def test_a_user_can_ask_what_it_may_do_and_who_it_is(api: Api, stranger: Client):
    await grant(api, rule("get", names=["a"]))
    await is_allowed(api, verb="get", resource="configmaps", name="a")
    review = await stranger.create(RULES_REVIEWS, document(RULES_REVIEWS, spec={"namespace": api.namespace}))
    rules = review["status"]["resourceRules"]
    assert {"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a"]} in rules
    me = (await stranger.create(WHO_AM_I, document(WHO_AM_I)))["status"]["userInfo"]
    assert (me["username"], sorted(me["groups"])) == (STRANGER, ["strangers", "system:authenticated"])


@pytest.mark.parametrize(("path", "allowed"), [("/version", True), ("/logs/secret", False)])
async def test_paths_that_are_no_resources_can_be_asked_for(api: Api, stranger: Client, path, allowed):
    review = document(SELF_REVIEWS, spec={"nonResourceAttributes": {"path": path, "verb": "get"}})
    assert (await stranger.create(SELF_REVIEWS, review))["status"]["allowed"] is allowed


async def test_a_local_review_is_about_its_own_namespace(api: Api):
    spec = {"user": STRANGER, "resourceAttributes": {"namespace": api.namespace, "verb": "get", "resource": "pods"}}
    review = document(LOCAL_REVIEWS, namespace=api.namespace, spec=spec)
    assert (await api.admin.create(LOCAL_REVIEWS, review))["status"]["allowed"] is False
    spec["resourceAttributes"]["namespace"] = "elsewhere"
    assert (await refusal(api.admin.create(LOCAL_REVIEWS, review))).status in {400, 422}


@pytest.mark.parametrize(
    "spec",
    [
        {"user": "x"},
        {"resourceAttributes": {"verb": "get", "resource": "pods"}},
        {"user": "x", "resourceAttributes": {"verb": "get"}, "nonResourceAttributes": {"path": "/", "verb": "get"}},
    ],
)
async def test_a_review_must_ask_one_thing_about_somebody(api: Api, spec):
    error = await refusal(api.admin.create(SUBJECTACCESSREVIEWS, document(SUBJECTACCESSREVIEWS, spec=spec)))
    assert error.status == 422


async def test_asking_for_others_is_a_right_itself(api: Api, stranger: Client):
    spec = {"user": "x", "resourceAttributes": {"verb": "get", "resource": "pods"}}
    error = await refusal(stranger.create(SUBJECTACCESSREVIEWS, document(SUBJECTACCESSREVIEWS, spec=spec)))
    assert error.status == 403


async def test_an_administrator_may_do_anything(api: Api):
    assert await asks(api, user="root", groups=("system:masters",), verb="anything", resource="whatever")
