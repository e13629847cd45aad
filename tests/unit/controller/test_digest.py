"""What a decision depends on besides the targets, as a digest."""

import msgspec
import pytest

from services.controller.core.digest import SUSPENDED, UNFOLLOWED, change, digest
from shared.api import PlacementPolicySpec, PlacementSpec, PolicyExceptionSpec
from shared.model.policy import Exemption, Parameters, PolicyEntry
from shared.model.refs import above
from shared.model.request import Requester, WorkloadObject

SPEC = msgspec.convert({"workload": [{"apiVersion": "v1", "kind": "Pod", "name": "x"}]}, PlacementSpec)
POLICY = msgspec.convert({"rules": [{"name": "r", "expression": "true"}]}, PlacementPolicySpec)


def policy(workspace: str, name: str = "p", generation: int = 1) -> PolicyEntry:
    return PolicyEntry(workspace=workspace, name=name, uid="x", generation=generation, spec=POLICY)


def test_the_digest_depends_on_everything_that_a_decision_depends_on_and_on_no_order():
    base = digest(SPEC, {"a": "1", "b": "2"}, None, (), "", [policy("root"), policy("root:a")])
    assert digest(SPEC, {"b": "2", "a": "1"}, None, (), "", [policy("root:a"), policy("root")]) == base
    load = WorkloadObject(api_version="v1", kind="Pod", namespace="n", name="x")
    others = [
        digest(SPEC, {"a": "1"}, None, (), "", []),
        digest(SPEC, {}, Requester(username="u"), (), "", []),
        digest(SPEC, {}, None, (load,), "", []),
        digest(SPEC, {}, None, (), "it selects nothing", []),
        digest(SPEC, {}, None, (), "", [], ("ConfigMap settings@u/1",)),
        digest(SPEC, {}, None, (), "", [], ("ConfigMap settings@u/2",)),
        digest(SPEC, {}, None, (), "", [policy("root")]),
        digest(SPEC, {}, None, (), "", [policy("root", generation=2)]),
    ]
    assert len({base, *others}) == len(others) + 1


def test_what_is_granted_of_a_policy_is_part_of_the_digest():
    match = {"namespaces": ["shop"]}
    spec = {"policy": "p", "match": match, "reason": "because", "expiresAt": "2027-01-01T00:00:00Z"}
    granted = Exemption(name="e", expires=1.0, spec=msgspec.convert(spec, PolicyExceptionSpec))
    other = msgspec.structs.replace(granted, expires=2.0)
    digests = [
        digest(SPEC, {}, None, (), "", [msgspec.structs.replace(policy("root"), exemptions=exemptions)])
        for exemptions in ((), (granted,), (other,), (granted, other))
    ]
    assert len(set(digests)) == 4
    assert {change(digests[0], each).code for each in digests[1:]} == {"PolicyChanged"}


def test_what_a_policy_takes_as_parameters_is_part_of_the_digest():
    states = (None, Parameters(), Parameters(content="{}"), Parameters(content='{"a":1}'), Parameters(unusable="why"))
    digests = [
        digest(SPEC, {}, None, (), "", [msgspec.structs.replace(policy("root"), params=params)]) for params in states
    ]
    assert len(set(digests)) == len(states)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("a.b.c", "x.b.c", "SpecChanged"),
        ("a.b.c", "a.x.c", "WorkloadChanged"),
        ("a.b.c", "a.b.x", "PolicyChanged"),
        ("a.b.c", "x.x.x", "SpecChanged"),
        ("", "a.b.c", "SpecChanged"),
        (SUSPENDED, "a.b.c", "SpecChanged"),
        (UNFOLLOWED, "a.b.c", "Resync"),
    ],
)
def test_the_first_part_that_differs_says_what_changed(old, new, expected):
    assert change(old, new).code == expected


def test_policies_hold_in_their_workspace_and_below():
    assert above("root:a:b") == ("root", "root:a", "root:a:b")
    assert above("") == ("",)
