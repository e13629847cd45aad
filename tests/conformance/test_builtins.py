"""Built-in kinds, as people write them by hand: what is refused, what is made of it, how patches merge."""

import pytest

from shared.kube.resources import CONFIGMAPS, DEPLOYMENTS, SECRETS, SERVICES, Resource
from tests.conformance.api import Api, causes, refusal

RBAC = "rbac.authorization.k8s.io"
ROLES = Resource(RBAC, "v1", "roles", kind="Role")
BINDINGS = Resource(RBAC, "v1", "rolebindings", kind="RoleBinding")
JOBS = Resource("batch", "v1", "jobs", kind="Job")
STRATEGIC = "application/strategic-merge-patch+json"


def made(there: Api, resource: Resource, /, metadata: dict | None = None, **content) -> dict:
    named = {"name": "a", "namespace": there.namespace, **(metadata or {})}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": named, **content}


def owner(**changes) -> dict:
    return {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u", **changes}]}


RULE = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
ROLE = {"apiGroup": RBAC, "kind": "Role", "name": "r"}


@pytest.mark.parametrize(
    ("resource", "content", "reason", "field", "words"),
    [
        (ROLES, {"rules": [{**RULE, "verbs": []}]}, "Required", "rules[0].verbs", "must contain at least one value"),
        (ROLES, {"rules": [{**RULE, "resources": []}]}, "Required", "rules[0].resources", "at least one resource"),
        (
            ROLES,
            {"rules": [RULE, {"verbs": ["get"], "nonResourceURLs": ["/x"]}]},
            "Invalid",
            "rules[1].nonResourceURLs",
            "",
        ),
        (BINDINGS, {"roleRef": {**ROLE, "kind": "Group"}}, "NotSupported", "roleRef.kind", '"Role", "ClusterRole"'),
        (BINDINGS, {"roleRef": {**ROLE, "name": ""}}, "Required", "roleRef.name", ""),
        (
            BINDINGS,
            {"roleRef": ROLE, "subjects": [{"kind": "Pod", "name": "p"}]},
            "NotSupported",
            "subjects[0].kind",
            "",
        ),
        (SERVICES, {"spec": {"selector": {"a": "b"}}}, "Required", "spec.ports", ""),
        (SERVICES, {"spec": {"ports": [{"port": 1}, {"port": 2}]}}, "Required", "spec.ports[1].name", ""),
        (SERVICES, {"spec": {"ports": [{"port": 0}]}}, "Invalid", "spec.ports[0].port", "between 1 and 65535"),
        (CONFIGMAPS, {"data": {"a b": "1"}}, "Invalid", "data[a b]", "a valid config key must consist of"),
        (SECRETS, {"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}, "Required", "data[tls.key]", ""),
        (CONFIGMAPS, {"metadata": {"name": "A"}}, "Invalid", "metadata.name", "a lowercase RFC 1123 subdomain must"),
        (
            CONFIGMAPS,
            {"metadata": {"labels": {"-a": "1"}}},
            "Invalid",
            "metadata.labels",
            '"-a": name part must consist',
        ),
        (CONFIGMAPS, {"metadata": {"labels": {"a": "-"}}}, "Invalid", "metadata.labels", '"-": a valid label must be'),
        (CONFIGMAPS, {"metadata": owner(uid="")}, "Invalid", "metadata.ownerReferences.uid", "must not be empty"),
    ],
)
async def test_what_is_wrong_is_told_with_field_and_reason(there: Api, resource, content, reason, field, words):
    error = await refusal(there.admin.create(resource, made(there, resource, **content)))
    assert (error.status, error.reason) == (422, "Invalid")
    assert (f"FieldValue{reason}", field) in causes(error)
    assert words in error.message


@pytest.mark.parametrize(
    ("given", "made_of_it"),
    [({}, (1, 1)), ({"parallelism": 6}, (6, None)), ({"completions": 6}, (1, 6))],
)
async def test_a_job_succeeds_once_unless_it_says_how_much_works_at_once(there: Api, given, made_of_it):
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a"}]}}
    job = made(there, JOBS, spec={**given, "suspend": True, "template": template})
    spec = (await there.admin.create(JOBS, job))["spec"]
    assert (spec.get("parallelism"), spec.get("completions")) == made_of_it


async def test_data_that_is_not_base64_cannot_be_read(there: Api):
    error = await refusal(there.admin.create(SECRETS, made(there, SECRETS, data={"k": "bad!"})))
    assert error.status == 400
    assert "illegal base64 data at input byte 3" in error.message


async def test_strings_of_a_secret_become_data_however_they_are_written(there: Api):
    found = await there.admin.create(SECRETS, made(there, SECRETS, stringData={"a": "x"}))
    assert (found["data"], "stringData" in found) == ({"a": "eA=="}, False)
    found = await there.admin.merge_patch(SECRETS, "a", {"stringData": {"b": "y"}}, there.namespace)
    assert (found["data"], "stringData" in found) == ({"a": "eA==", "b": "eQ=="}, False)
    found = await there.admin.apply(SECRETS, made(there, SECRETS, stringData={"c": "z"}), field_manager="one")
    assert (found["data"], "stringData" in found) == ({"a": "eA==", "b": "eQ==", "c": "eg=="}, False)


async def test_what_is_empty_or_null_is_left_out(there: Api):
    found = await there.admin.create(
        CONFIGMAPS, made(there, CONFIGMAPS, data={}, binaryData=None, metadata={"labels": {}})
    )
    assert not found.keys() & {"data", "binaryData"}
    assert "labels" not in found["metadata"]


def deployment(there: Api) -> dict:
    env = [{"name": name, "value": "1"} for name in ("A", "B")]
    containers = [{"name": "main", "image": "i", "env": env}, {"name": "side", "image": "i"}]
    template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": containers}}
    return made(
        there, DEPLOYMENTS, spec={"replicas": 0, "selector": {"matchLabels": {"app": "a"}}, "template": template}
    )


@pytest.mark.parametrize(
    ("pod", "containers", "env"),
    [
        ({"containers": [{"name": "new", "image": "i"}]}, ["new", "main", "side"], ["A", "B"]),
        (
            {"$setElementOrder/containers": [{"name": "side"}, {"name": "main"}]},
            ["side", "main"],
            ["A", "B"],
        ),
        (
            {
                "$setElementOrder/containers": [{"name": "main"}, {"name": "new"}],
                "containers": [{"name": "new", "image": "i"}, {"name": "side", "$patch": "delete"}],
            },
            ["main", "new"],
            ["A", "B"],
        ),
        (
            {"containers": [{"name": "main", "env": [{"name": "C", "value": "1"}, {"name": "A", "value": "2"}]}]},
            ["main", "side"],
            ["C", "A", "B"],
        ),
    ],
)
async def test_a_strategic_patch_merges_lists_by_key_and_orders_them(there: Api, pod, containers, env):
    await there.admin.create(DEPLOYMENTS, deployment(there))
    body = {"spec": {"template": {"spec": pod}}}
    path = DEPLOYMENTS.path(there.namespace, "a")
    await there.admin.request("PATCH", path, body=body, content_type=STRATEGIC)
    found = (await there.admin.get(DEPLOYMENTS, "a", there.namespace))["spec"]["template"]["spec"]["containers"]
    assert [each["name"] for each in found] == containers
    assert [each["name"] for item in found if item["name"] == "main" for each in item["env"]] == env


async def test_a_strategic_patch_may_name_the_keys_that_stay(there: Api):
    await there.admin.create(DEPLOYMENTS, deployment(there))
    body = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    await there.admin.request("PATCH", DEPLOYMENTS.path(there.namespace, "a"), body=body, content_type=STRATEGIC)
    found = await there.admin.get(DEPLOYMENTS, "a", there.namespace)
    assert found["spec"]["strategy"] == {"type": "Recreate"}


async def test_a_strategy_without_rolling_takes_nothing_for_it(there: Api):
    await there.admin.create(DEPLOYMENTS, deployment(there))
    change = {"spec": {"strategy": {"type": "Recreate"}}}
    error = await refusal(there.admin.merge_patch(DEPLOYMENTS, "a", change, there.namespace))
    assert (error.status, causes(error)) == (422, {("FieldValueForbidden", "spec.strategy.rollingUpdate")})


async def test_selectors_of_workloads_and_types_of_secrets_are_for_good(there: Api):
    await there.admin.create(SECRETS, made(there, SECRETS))
    error = await refusal(there.admin.merge_patch(SECRETS, "a", {"type": "example.com/x"}, there.namespace))
    assert causes(error) == {("FieldValueInvalid", "type")}
    await there.admin.create(DEPLOYMENTS, deployment(there))
    other = {"app": "b"}
    change = {"spec": {"selector": {"matchLabels": other}, "template": {"metadata": {"labels": other}}}}
    error = await refusal(there.admin.merge_patch(DEPLOYMENTS, "a", change, there.namespace))
    assert causes(error) == {("FieldValueInvalid", "spec.selector")}
    assert "field is immutable" in error.message


async def test_a_scale_below_zero_is_refused(there: Api):
    await there.admin.create(DEPLOYMENTS, deployment(there))
    path = DEPLOYMENTS.path(there.namespace, "a", "scale")
    body = {"spec": {"replicas": -1}}
    error = await refusal(there.admin.request("PATCH", path, body=body, content_type="application/merge-patch+json"))
    assert (error.status, causes(error)) == (422, {("FieldValueInvalid", "spec.replicas")})


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        ({"propagationPolicy": "Sideways"}, 422, 'supported values: "Foreground", "Background", "Orphan"'),
        (
            {"preconditions": {"uid": "other"}},
            409,
            "the UID in the precondition (other) does not match the UID in record",
        ),
    ],
)
async def test_a_deletion_that_cannot_be_is_refused(there: Api, options, status, words):
    await there.make("a")
    error = await refusal(there.admin.request("DELETE", CONFIGMAPS.path(there.namespace, "a"), body=options))
    assert error.status == status
    assert words in error.message
