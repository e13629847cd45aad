"""Which targets a request may use, and why it may not use the others."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.discovery.core import (
    Candidate,
    Workspaces,
    may_stay_on,
    providers_of,
    screen,
    served,
    sort_out,
    trusts,
)
from shared.api import PlacementPolicySpec, PlacementSpec, WorkspaceSelector
from shared.model.policy import PolicyEntry
from shared.model.refs import Head, PlacementRef
from shared.model.request import Cause, PreviousChoice, Request, WorkloadObject
from shared.model.target import ApiKind, Target

APPS = ApiKind(group="apps", resource="deployments", kind="Deployment", versions=("v1", "v1beta1"))
BATCH = ApiKind(group="batch", resource="cronjobs", kind="CronJob", versions=("v1",))
CORE = ApiKind(group="", resource="secrets", kind="Secret", versions=("v1",))

LABELS = {"root": {}, "root:a": {"tier": "gold"}, "root:a:b": {}, "root:team": {"env": "prod"}}


def target(name="t", workspace="root:a", *, apis=(APPS, CORE), ready=True, reason="", allowed=None, lost_since=0.0):
    return Target(
        workspace=workspace,
        name=name,
        apis=apis,
        ready=ready,
        reason=reason,
        lost_since=lost_since,
        allowed_workspaces=None if allowed is None else selector(**allowed),
    )


def selector(**fields):
    return msgspec.convert(fields, WorkspaceSelector)


def request(*kinds, workspaces=None, home="root:team"):
    spec = {
        "workload": [{"apiVersion": "v1", "kind": "Secret", "name": "x"}],
        "targets": {"workspaces": workspaces or {}},
    }
    objects = [kind.rsplit(" ", 1) for kind in kinds]
    return Request(
        placement=PlacementRef(workspace=home, namespace="shop", name="web"),
        head=Head(uid="u", generation=1, attempt=1),
        cause=Cause(code="Created"),
        spec=msgspec.convert(spec, PlacementSpec),
        workload=tuple(
            WorkloadObject(api_version=version, kind=kind, namespace="shop", name="x") for version, kind in objects
        ),
    )


def discovered(asked, targets, permissions=None, labels=LABELS, providers=("root:a",)):
    candidates = [Candidate(each.id, each, served(each)) for each in targets]
    screened = screen(asked, candidates, Workspaces(labels), providers)
    ids = [candidate.id for candidate in screened.candidates]
    allowed = dict.fromkeys(ids, "Allowed") if permissions is None else permissions
    return sort_out(screened, allowed, asked.needed, may_stay_on(asked))


def reasons(found):
    return {(each.reason, each.message): each.targets or each.unnamed for each in found.rejections}


NAMED = ("NotReady", "MissingAPI")


@pytest.mark.parametrize(
    ("fields", "path", "admitted"),
    [
        ({}, "root:a", True),
        ({}, "root:unknown", True),
        ({"paths": ["root:a"]}, "root:a", True),
        ({"paths": ["root:a"]}, "root:a:b", True),
        ({"paths": ["root:a"]}, "root:ab", False),
        ({"paths": ["root:a"], "includeDescendants": False}, "root:a:b", False),
        ({"paths": ["root:a"], "includeDescendants": False}, "root:a", True),
        ({"paths": ["root:x", "root:a"]}, "root:a", True),
        ({"selector": {"matchLabels": {"tier": "gold"}}}, "root:a", True),
        ({"selector": {"matchLabels": {"tier": "gold"}}}, "root:a:b", False),
        ({"selector": {"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}}, "root:a:b", True),
        ({"selector": {"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}}, "root:unknown", False),
        ({"paths": ["root:a"], "selector": {"matchLabels": {"tier": "gold"}}}, "root:a:b", False),
    ],
)
def test_a_selector_admits_workspaces_by_path_and_labels(fields, path, admitted):
    assert Workspaces(LABELS).admits(selector(**fields), path) is admitted


@pytest.mark.parametrize(
    ("candidate", "permission", "kinds", "rejected"),
    [
        (target(), "Allowed", ["apps/v1 Deployment", "v1 Secret"], None),
        (target(), "Allowed", ["apps/v1beta1 Deployment"], None),
        (target(), "Allowed", [], None),
        (target(), "Denied", [], ("NotAuthorized", "not authorized")),
        (target(), "NoAccess", [], ("NotAuthorized", "not authorized (no access to the workspace)")),
        (target(), "NoRequester", [], ("NotAuthorized", "no requester recorded on the Placement")),
        (target(), "Unknown", [], ("AuthorizationUnknown", "of unknown authorization")),
        (target(ready=False, reason="without a ready node"), "Allowed", [], ("NotReady", "without a ready node")),
        (target(ready=False, reason="unreachable", lost_since=1.0), "Allowed", [], ("NotReady", "unreachable")),
        (target(ready=False), "Allowed", [], ("NotReady", "not ready")),
        (target(ready=False), "Denied", [], ("NotAuthorized", "not authorized")),
        (target(), "Allowed", ["batch/v1 CronJob"], ("MissingAPI", "lack batch/v1 CronJob")),
        (target(), "Allowed", ["apps/v2 Deployment"], ("MissingAPI", "lack apps/v2 Deployment (serve v1, v1beta1)")),
        (
            target(apis=()),
            "Allowed",
            ["b/v1 B", "a/v1 A", "d/v1 D", "c/v1 C", "e/v1 E"],
            ("MissingAPI", "lack a/v1 A, b/v1 B, c/v1 C and 2 more"),
        ),
        (
            target(allowed={"paths": ["root:other"]}),
            "Allowed",
            [],
            ("WorkspaceNotAllowed", "not offered to this workspace"),
        ),
        (target(allowed={"paths": ["root"]}), "Allowed", [], None),
        (target(allowed={"selector": {"matchLabels": {"env": "prod"}}}), "Allowed", [], None),
    ],
)
def test_each_target_has_one_reason(candidate, permission, kinds, rejected):
    found = discovered(request(*kinds), [candidate], {candidate.id: permission})
    assert found.targets == (() if rejected else (candidate.id,))
    names = (candidate.id,) if rejected and rejected[0] in NAMED else 1
    assert reasons(found) == ({rejected: names} if rejected else {})


def test_targets_are_sorted_and_rejections_grouped():
    offered = [
        target("z"),
        target("b"),
        target("c", apis=()),
        target("a", apis=()),
        target("q", "root:team"),
        target("n", ready=False, reason="unreachable"),
    ]
    found = discovered(request("v1 Secret", workspaces={"paths": ["root:a"]}), offered)
    assert found.targets == ("root:a/b", "root:a/z")
    assert {each.stage for each in found.rejections} == {"discovery"}
    assert reasons(found) == {
        ("NotSelectedWorkspace", "in other workspaces"): 1,
        ("MissingAPI", "lack v1 Secret"): ("root:a/a", "root:a/c"),
        ("NotReady", "unreachable"): ("root:a/n",),
    }


def test_without_a_verdict_nothing_is_allowed():
    found = discovered(request(), [target()], {})
    assert [each.reason for each in found.rejections] == ["AuthorizationUnknown"]


def test_a_hub_without_workspaces_has_one():
    offered = target(workspace="")
    assert discovered(request(home=""), [offered], labels={"": {}}).targets == ("/t",)
    elsewhere = discovered(request(home="", workspaces={"paths": ["root"]}), [offered], labels={"": {}})
    assert [each.reason for each in elsewhere.rejections] == ["NotSelectedWorkspace"]


@pytest.mark.parametrize(
    ("home", "workspace", "named", "providers", "trusted"),
    [
        ("root:team", "root:team", {}, (), True),
        ("root:team:web", "root:team", {}, (), True),
        ("root:team", "root", {}, (), True),
        ("root:team", "root:team:web", {}, (), False),
        ("root:team", "root:tea", {}, (), False),
        ("root:team", "root:a", {}, (), False),
        ("root:team", "root:a", {}, ("root:a",), True),
        ("root:team", "root:a:b", {}, ("root:a",), True),
        ("root:team", "root:ab", {}, ("root:a",), False),
        ("root:team", "root:a", {"paths": ["root:a"]}, (), True),
        ("root:team", "root:a", {"selector": {"matchLabels": {"tier": "gold"}}}, (), True),
        ("root:team", "root:a", {"includeDescendants": False}, (), False),
        ("", "", {}, (), True),
    ],
)
def test_targets_of_strangers_are_for_whom_somebody_names_them(home, workspace, named, providers, trusted):
    assert trusts(request(home=home, workspaces=named), workspace, providers) is trusted


def test_a_refusal_for_lack_of_trust_names_the_field_and_the_setting():
    (rejection,) = discovered(request(), [target()], providers=()).rejections
    assert (rejection.reason, rejection.count, rejection.targets) == ("ProviderNotTrusted", 1, ())
    for name in ("spec.targets.workspaces", "spec.providers", "trusted_providers"):
        assert name in rejection.message
    assert discovered(request(), [target()], providers=None).targets == ("root:a/t",)


def policy(workspace, *providers, **fields):
    return PolicyEntry(
        workspace=workspace, name="p", spec=msgspec.convert({"providers": providers, **fields}, PlacementPolicySpec)
    )


@pytest.mark.parametrize(
    ("entry", "counts"),
    [
        (policy("root:team", "root:a"), True),
        (policy("root", "root:a"), True),
        (policy("root:other", "root:a"), False),
        (policy("root:team:web", "root:a"), False),
        (policy("root:tea", "root:a"), False),
        (policy("root", "root:a", enforcement="DryRun"), False),
        (policy("root", "root:a", enforcement="Warn"), False),
        (policy("root", "root:a", placementSelector={"matchLabels": {"app": "web"}}), False),
    ],
)
def test_policies_of_the_workspace_and_its_ancestors_name_providers(entry, counts):
    assert providers_of(request(), [entry]) == (("root:a",) if counts else ())


TARGETS = st.lists(
    st.builds(
        target,
        name=st.sampled_from("abcdef"),
        workspace=st.sampled_from(sorted(LABELS)),
        apis=st.sampled_from([(), (CORE,), (APPS, CORE), (APPS, BATCH)]),
        ready=st.booleans(),
        allowed=st.sampled_from([None, {}, {"paths": ["root:team"]}, {"paths": ["root:x"]}]),
    ),
    unique_by=lambda each: each.id,
    max_size=12,
)
PERMISSIONS = st.sampled_from(["Allowed", "Denied", "Unknown", "NoRequester"])


@given(TARGETS, st.data())
def test_every_target_is_accounted_for_once_whatever_the_order(targets, data):
    asked = request("v1 Secret", workspaces=data.draw(st.sampled_from([{}, {"paths": ["root:a"]}])))
    permissions = {each.id: data.draw(PERMISSIONS) for each in targets}
    found = discovered(asked, targets, permissions)
    named = [*found.targets, *(each for rejection in found.rejections for each in rejection.targets)]
    assert len(named) == len(set(named))
    assert len(found.targets) + sum(rejection.count for rejection in found.rejections) == len(targets)
    assert all(rejection.count for rejection in found.rejections)
    assert all(permissions[each] == "Allowed" for each in named)
    shuffled = discovered(asked, data.draw(st.permutations(targets)), permissions)
    assert shuffled == found


@pytest.mark.parametrize(
    ("previous", "leaving", "kept"),
    [
        (["root:a/t"], [], True),
        (["root:a/t"], ["root:a/t"], False),
        (["root:a/t", "root:a/u"], ["root:a/u"], True),
        (["root:a/u"], [], False),
    ],
)
def test_who_is_on_a_target_that_is_not_ready_may_stay_until_it_has_to_leave(previous, leaving, kept):
    on_it = msgspec.structs.replace(
        request("apps/v1 Deployment"),
        previous=tuple(PreviousChoice(target=each) for each in previous),
        leaving=tuple(leaving),
    )
    gone = target(ready=False, reason="unreachable", apis=())
    found = discovered(on_it, [gone])
    assert found.targets == ((gone.id,) if kept else ())
    assert reasons(found) == ({} if kept else {("NotReady", "unreachable"): (gone.id,)})
    assert discovered(on_it, [gone], {gone.id: "Denied"}).targets == ()
