"""What an API server writes down of who wrote which field, and what is placed by it: what was written, no default."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from services.binding.target.adoption import differing
from shared.kube.apis import RestMapper
from shared.kube.objects import strip_server_fields
from shared.kube.resources import DEPLOYMENTS, Resource
from shared.kube.written import LAST_APPLIED, as_written
from tests.conformance.api import Api, Object, until

LEDGER = Path(__file__).parents[2] / "examples" / "ledger" / "app.yaml"
KEYS = {".spec.ports[0].protocol", ".spec.template.spec.containers[0].ports[0].protocol"}
WHOLE = (".spec.volumeClaimTemplates[0].", ".spec.ingress[0].ports[0].")
"""Lists that are one value, so that their defaults stay; a protocol stays that is part of the key of a port."""
OWN = ("CustomResourceDefinition", "Account")
CLIENT_SIDE = "kubectl-client-side-apply"


def application(there: Api) -> list[Object]:
    """An object of each kind that a chart renders, as its author wrote it."""
    text = LEDGER.read_text().replace("namespace: ledger", f"namespace: {there.namespace}")
    return [each for each in yaml.safe_load_all(text) if "spec" in each and each["kind"] not in OWN]


async def applied(there: Api, obj: Object, *, client_side: bool = False, manager: str = "author") -> Object:
    resource = await RestMapper(there.admin).resource(obj["apiVersion"], obj["kind"])
    if not client_side:
        return await there.admin.apply(resource, obj, field_manager=manager)
    annotated = {**obj, "metadata": {**obj["metadata"], "annotations": {LAST_APPLIED: json.dumps(obj)}}}
    return await there.admin.create(resource, annotated, field_manager=manager)


def elsewhere(obj: Object) -> Object:
    """An object as it is placed, by another name in place of another cluster."""
    return {**obj, "metadata": {**obj["metadata"], "name": f"{obj['metadata']['name']}-there"}}


def added(obj: Object, found: Object) -> set[str]:
    """Fields of what would be placed that its author did not write."""
    wanted = as_written(found)
    assert not differing(wanted["spec"], obj["spec"]), "what was written is not placed"
    return {each for each in differing(obj["spec"], wanted["spec"], ".spec") if not each.startswith(WHOLE)} - KEYS


@pytest.mark.parametrize("client_side", [False, True], ids=["server-side", "client-side"])
async def test_of_what_was_applied_all_that_was_written_is_placed_and_no_default(there: Api, client_side: bool):
    manager = CLIENT_SIDE if client_side else "author"
    for obj in application(there):
        found = await applied(there, obj, client_side=client_side, manager=manager)
        assert obj["kind"] == "Job" or (obj["kind"], added(obj, found)) == (obj["kind"], set())


async def test_what_was_changed_after_it_was_applied_was_written_too(there: Api):
    deployment = next(each for each in application(there) if each["kind"] == "Deployment")
    for number, client_side in enumerate((False, True)):
        obj = {**deployment, "metadata": {**deployment["metadata"], "name": f"a{number}"}}
        await applied(there, obj, client_side=client_side, manager=CLIENT_SIDE if client_side else "author")
        changed = {"replicas": 3, "revisionHistoryLimit": 4}
        found = await there.admin.merge_patch(
            DEPLOYMENTS, f"a{number}", {"spec": changed}, there.namespace, field_manager="kubectl-edit"
        )
        assert as_written(found)["spec"].items() >= changed.items()
        assert added(obj, found) == {".spec.replicas", ".spec.revisionHistoryLimit"}


async def test_of_what_was_created_nobody_can_tell_so_its_defaults_are_placed(there: Api):
    deployment = next(each for each in application(there) if each["kind"] == "Deployment")
    found = await there.admin.create(DEPLOYMENTS, deployment, field_manager="client-go")
    assert as_written(found)["spec"] == strip_server_fields(found)["spec"]


async def test_what_was_placed_with_defaults_before_can_be_placed_without(there: Api):
    """Nothing of it is changed by that: what is not applied any more gets the same default."""
    for obj in application(there):
        found = await applied(there, obj)
        before = await applied(there, elsewhere(strip_server_fields(found)), manager="moorage")
        after = await applied(there, elsewhere(as_written(found)), manager="moorage")
        assert (obj["kind"], before["spec"]) == (obj["kind"], after["spec"])


async def test_what_others_set_where_nobody_wrote_anything_is_not_fought_over(there: Api):
    obj = next(each for each in application(there) if each["kind"] == "Deployment")
    wanted = elsewhere(as_written(await applied(there, obj)))
    await applied(there, wanted, manager="moorage")
    theirs = {"replicas": 4, "strategy": {"rollingUpdate": {"maxSurge": 2}}, "progressDeadlineSeconds": 60}
    name = wanted["metadata"]["name"]
    await there.admin.merge_patch(DEPLOYMENTS, name, {"spec": theirs}, there.namespace, field_manager="theirs")
    after = await applied(there, wanted, manager="moorage")
    assert not differing(after["spec"], theirs)


POLICIES = Resource(
    "admissionregistration.k8s.io", "v1", "mutatingadmissionpolicies", False, kind="MutatingAdmissionPolicy"
)
POLICY_BINDINGS = Resource(
    POLICIES.group, "v1", "mutatingadmissionpolicybindings", False, kind="MutatingAdmissionPolicyBinding"
)
KEEP = 10
"""Revisions that a Deployment keeps by default; where the policy is, 5."""


@pytest.fixture
async def with_another_default(there: Api) -> AsyncIterator[Api]:
    """Where admission changes a default."""
    if there.backend.name == "sandbox":
        pytest.skip("the sandbox has no admission policies")
    name, rule = f"keep-{there.namespace}", {"apiGroups": ["apps"], "apiVersions": ["v1"]}
    rules = [{**rule, "operations": ["CREATE", "UPDATE"], "resources": ["deployments"]}]
    within = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": there.namespace}}}
    policy = {
        "reinvocationPolicy": "Never",
        "matchConstraints": {"resourceRules": rules, **within},
        "matchConditions": [{"name": "default", "expression": f"object.spec.revisionHistoryLimit == {KEEP}"}],
        "mutations": [
            {
                "patchType": "ApplyConfiguration",
                "applyConfiguration": {"expression": "Object{spec: Object.spec{revisionHistoryLimit: 5}}"},
            }
        ],
    }
    for resource, spec in ((POLICIES, policy), (POLICY_BINDINGS, {"policyName": name})):
        obj = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}, "spec": spec}
        await there.admin.create(resource, obj)
    try:
        await until(lambda: keeps(there, "probe"), "the policy holds", holds=lambda kept: kept != KEEP)
        yield there
    finally:
        for resource in (POLICIES, POLICY_BINDINGS):
            await there.admin.delete(resource, name)


async def keeps(there: Api, name: str) -> int:
    """How many revisions an applied Deployment keeps that does not say how many."""
    obj = next(each for each in application(there) if each["kind"] == "Deployment")
    found = await applied(there, {**obj, "metadata": {**obj["metadata"], "name": name}})
    await there.admin.delete(DEPLOYMENTS, name, there.namespace)
    return int(found["spec"]["revisionHistoryLimit"])


async def test_what_admission_made_of_a_default_is_not_placed_and_another_clusters_is_left_as_it_is(
    with_another_default: Api,
):
    there = with_another_default
    obj = next(each for each in application(there) if each["kind"] == "Deployment")
    found = await applied(there, obj)
    assert found["spec"]["revisionHistoryLimit"] == 5
    assert added(obj, found) == set()
    first = await applied(there, elsewhere(as_written(found)), manager="moorage")
    again = await applied(there, elsewhere(as_written(found)), manager="moorage")
    assert first["spec"]["revisionHistoryLimit"] == again["spec"]["revisionHistoryLimit"] == 5
    assert first["metadata"]["resourceVersion"] == again["metadata"]["resourceVersion"]
