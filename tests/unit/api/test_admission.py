"""The admission policies of real hubs, and the sandbox's guards, which do the same: every case is put to both.

The policies are evaluated by a CEL implementation that type-checks them; tests/security puts them to a real server.
"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sandbox.objects import guards
from shared.hub.names import APPROVED_ANNOTATION, REQUESTER_ANNOTATION
from shared.model.request import Requester
from tests.unit.api.admission import (
    ACCOUNT,
    AGREE,
    ALICE,
    APPROVAL,
    BOB,
    BOUND,
    BOUND_ON_KCP,
    CHECKS,
    CHECKS_ON_KCP,
    DECIDED,
    DECIDED_ON_KCP,
    DERIVED,
    DERIVED_ON_KCP,
    GROUP,
    OF_A_WORKSPACE,
    ON_KCP,
    ON_KUBERNETES,
    SCOPED,
    STAMPED,
    STAMPS,
    STAMPS_ON_KCP,
    placement,
    recorded,
    user_of,
)


def test_both_policies_say_the_same_of_the_requester():
    common = [each for each in CHECKS.spec["variables"] if each["name"] != "after"]
    assert common == STAMPS.spec["variables"]


@pytest.mark.parametrize("info", [ALICE, BOB, {**ALICE, "extra": {"a": ["1", "2"], "b": []}}], ids=str)
def test_whoever_makes_a_placement_is_its_requester_whatever_they_wrote_there(info):
    for wrote in (None, "forged", '{"username":"root"}'):
        found = json.loads(recorded(info, placement(wrote, workload=[])))
        assert found == {"uid": "", "groups": [], "extra": {}, **info}


@pytest.mark.parametrize("wrote", [None, "a", "forged"])
@pytest.mark.parametrize("before", [None, "a"])
def test_whoever_changes_the_spec_is_the_requester(before, wrote):
    found = recorded(BOB, placement(wrote, priority=2), placement(before, priority=1))
    assert json.loads(found)["username"] == "bob"


@pytest.mark.parametrize("wrote", [None, "a", "forged"])
def test_other_changes_keep_who_is_recorded(wrote):
    assert recorded(BOB, placement(wrote, priority=1), placement("a", priority=1)) == "a"


def test_what_nobody_recorded_cannot_be_written_later():
    new, old = placement("forged", priority=1), placement(None, priority=1)
    assert STAMPS.values({"userInfo": BOB}, new, old)["variables"]["requester"] == ""
    assert not CHECKS.admits({"userInfo": BOB}, new, old)
    assert guards.stamped(new, old, user_of(BOB)) == guards.WRITTEN_BY_HAND


@pytest.mark.parametrize(
    ("wrote", "old"),
    [("forged", None), (None, None), ("b", placement("a", priority=1)), (None, placement("a", priority=1))],
)
def test_without_the_stamp_nothing_passes_the_check(wrote, old):
    assert not CHECKS.admits({"userInfo": BOB}, placement(wrote, priority=1), old)


printable = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=8) | st.text(
    '\\",', max_size=8
)


@given(
    username=printable,
    uid=printable,
    groups=st.lists(printable, max_size=3),
    key=printable,
    values=st.lists(printable, max_size=2),
)
def test_no_name_can_forge_anything_else(username, uid, groups, key, values):
    info = {"username": username, "uid": uid, "groups": groups, "extra": {key: values}}
    assert json.loads(recorded(info, placement(workload=[]))) == info


def approved(value):
    annotations = {} if value is None else {"annotations": {APPROVED_ANNOTATION: value}}
    return {"metadata": {"name": "p", **annotations}, "spec": {}}


@pytest.mark.parametrize("after", [None, "", "r/1", "r/2"])
@pytest.mark.parametrize("before", [None, "", "r/1"])
@pytest.mark.parametrize("new", [True, False])
def test_an_approval_is_written_by_who_may_and_kept_or_taken_back_by_anybody(before, after, new):
    old = None if new else approved(before)
    approving = bool(after) and (new or after != before)
    assert guards.approves(approved(after), old) is approving
    for may in (True, False):
        assert APPROVAL.admits({"approves": may}, approved(after), old) is (may or not approving)


def test_a_record_of_an_earlier_release_still_reads():
    import msgspec

    found = msgspec.json.decode('{"username":"alice","groups":["shop"]}', type=Requester)
    assert found == Requester(username="alice", groups=("shop",))


MINE = {
    "decision": ("placementdecisions", "placementdecisions/status", "clusterrequests"),
    "binding": ("placementbindings", "placementbindings/status", "placementrevisions"),
    "status": ("placements/status", "placementpolicies/status"),
    "controller": ("placementoverrides/status", "policyexceptions/status", "placementquotas/status"),
}
GUARDED = tuple(each for those in MINE.values() for each in those)


BEFORE = {"metadata": {"name": "web"}, "status": {"selected": []}}


def admitted(policy, info, what, new=BEFORE, old=BEFORE):
    resource, _, sub = what.partition("/")
    request = {"userInfo": info, "resource": {"group": GROUP, "version": "v1alpha1", "resource": resource}}
    return policy.admits(request | ({"subResource": sub} if sub else {}), new, old)


def may_write(info, what, new=BEFORE, old=BEFORE):
    resource, _, sub = what.partition("/")
    said = admitted(DECIDED, info, what, new, old)
    assert said is not bool(guards.refusal(f"{resource}.{GROUP}", sub, user_of(info), new, old))
    assert said or not admitted(DECIDED_ON_KCP, info, what, new, old)
    return said


NAMED_OR_AUTHOR = "(variables.named == '' ? variables.author : variables.named)"


def test_on_kcp_the_same_is_guarded_by_the_same_rules_and_only_who_may_is_different():
    def without_identities(document):
        spec = {**document["spec"]}
        if document["metadata"]["name"].startswith("requester") and "variables" in spec:
            spec["variables"] = [
                {**each, "expression": each["expression"].replace(NAMED_OR_AUTHOR, "variables.author")}
                for each in spec["variables"]
                if each["name"] != "named"
            ]
        if document["metadata"]["name"].startswith(("decided-by", "derived-by")) and "variables" in spec:
            spec["variables"] = [each for each in spec["variables"] if each["name"] != "collector"]
            (rule,) = spec["validations"]
            spec["validations"] = [{**rule, "expression": ""}]
        if document["metadata"]["name"].startswith("quotas-bound") and "validations" in spec:
            spec["validations"] = []  # a hub without workspaces is bounded otherwise: by namespaces
        return {**document, "spec": spec}

    both = [each for each in ON_KUBERNETES if not each["metadata"]["name"].startswith("overrides-agree")]
    assert [without_identities(each) for each in ON_KCP] == [without_identities(each) for each in both]


def test_on_kcp_a_worker_is_known_by_its_group_alone():
    for worker, mine in MINE.items():
        by_group = {"username": "w", "groups": [f"moorage:{worker}"]}
        assert {what for what in GUARDED if admitted(DECIDED_ON_KCP, by_group, what)} == set(mine)
        for nobody in (
            {"username": ACCOUNT + worker},
            {"username": "system:serviceaccount:kube-system:generic-garbage-collector"},
            {"username": "system:kube-controller-manager"},
            {**by_group, "extra": SCOPED},
        ):
            assert not any(admitted(DECIDED_ON_KCP, nobody, what) for what in GUARDED)


def test_on_kcp_operators_write_everything_unless_a_workspace_confines_them():
    for group in ("system:masters", "system:kcp:admin"):
        operator = {"username": "op", "groups": [group]}
        assert all(admitted(DECIDED_ON_KCP, operator, what) for what in GUARDED)
        assert not any(admitted(DECIDED_ON_KCP, {**operator, "extra": OF_A_WORKSPACE}, what) for what in GUARDED)


def test_the_policy_covers_what_the_guards_cover():
    (rule,) = DECIDED.spec["matchConstraints"]["resourceRules"]
    covered = {
        "/".join((f"{plural}.{GROUP}", *sub)) for plural, *sub in (each.split("/") for each in rule["resources"])
    }
    assert covered == set(guards.WRITERS)
    assert set(rule["resources"]) == set(GUARDED)


@pytest.mark.parametrize("worker", MINE)
@pytest.mark.parametrize("known_by", ["its account", "its group"])
def test_a_worker_writes_what_is_its_own_and_nothing_else(worker, known_by):
    info = (
        {"username": ACCOUNT + worker}
        if known_by == "its account"
        else {"username": "w", "groups": [f"moorage:{worker}"]}
    )
    assert {what for what in GUARDED if may_write(info, what)} == set(MINE[worker])


@pytest.mark.parametrize("group", ["system:masters", "system:kcp:admin"])
def test_operators_write_everything(group):
    assert all(may_write({"username": "op", "groups": [group]}, what) for what in GUARDED)


def test_the_garbage_collector_takes_owners_off_and_writes_no_status():
    info = {"username": "system:serviceaccount:kube-system:generic-garbage-collector"}
    taken_off = {**BEFORE, "metadata": {"name": "web", "ownerReferences": []}}
    assert {what for what in GUARDED if may_write(info, what, taken_off)} == {
        "placementdecisions", "placementbindings", "placementrevisions", "clusterrequests",
    }  # fmt: skip


@pytest.mark.parametrize("new", [{**BEFORE, "status": {"selected": ["x"]}}, {**BEFORE, "spec": {}}, {"metadata": {}}])
def test_the_garbage_collector_decides_nothing(new):
    info = {"username": "system:kube-controller-manager"}
    assert not any(may_write(info, what, new) for what in GUARDED)
    assert not any(may_write(info, what, new, None) for what in GUARDED)


@pytest.mark.parametrize(
    "info",
    [
        {**ALICE, "groups": ["cluster-admins"]},
        {"username": ""},
        {"username": "system:serviceaccount:shop:decision"},
        {"username": f"{ACCOUNT}decision:x"},
        {"username": f"{ACCOUNT}discovery"},
        *({"username": ACCOUNT + worker, "extra": extra} for worker in MINE for extra in (SCOPED, OF_A_WORKSPACE)),
        {"username": "alice", "groups": ["system:masters", "system:kcp:admin", "moorage:decision"], "extra": SCOPED},
        {"username": "system:kube-controller-manager", "extra": OF_A_WORKSPACE},
    ],
    ids=str,
)
def test_a_tenant_writes_nothing_that_is_decided_whatever_it_calls_itself(info):
    assert not any(may_write(info, what) for what in GUARDED)


INTAKE = {"username": "intake", "groups": ["moorage:intake", "system:authenticated"]}
NAMED = '{"username":"alice","groups":["team"]}'


def recorded_on_kcp(info, new, old=None):
    """The requester that is recorded on kcp, and by the sandbox; what is written so passes the check at the end."""
    said = STAMPS_ON_KCP.values({"userInfo": info}, new, old)["variables"]["requester"]
    kept = guards.requester(new, old, user_of(info))
    assert said == kept or json.loads(said) == json.loads(kept)
    stored = {**new, "metadata": {**new["metadata"], "annotations": {REQUESTER_ANNOTATION: said} if said else {}}}
    assert CHECKS_ON_KCP.admits({"userInfo": info}, stored, old)
    return said


def test_on_kcp_intake_names_the_requester_of_what_it_makes_or_changes():
    assert recorded_on_kcp(INTAKE, placement(NAMED, priority=1)) == NAMED
    assert recorded_on_kcp(INTAKE, placement(NAMED, priority=2), placement("a", priority=1)) == NAMED


def test_on_kcp_intake_that_names_nobody_is_itself_and_changes_no_other_record():
    assert json.loads(recorded_on_kcp(INTAKE, placement(priority=1)))["username"] == "intake"
    assert recorded_on_kcp(INTAKE, placement(NAMED, priority=1), placement("a", priority=1)) == "a"
    assert recorded_on_kcp(INTAKE, placement(NAMED, priority=1), placement(None, priority=1)) == ""


@pytest.mark.parametrize(
    "info",
    [
        ALICE,
        {"username": "moorage:intake"},
        {"username": ACCOUNT + "intake"},
        {"username": "root", "groups": ["system:masters"]},
        {"username": "w", "groups": ["moorage:status", "moorage:intake-2"]},
        {**INTAKE, "extra": SCOPED},
        {**INTAKE, "extra": OF_A_WORKSPACE},
    ],
    ids=str,
)
def test_on_kcp_nobody_but_intake_names_a_requester(info):
    found = recorded_on_kcp(info, placement(NAMED, priority=1))
    assert json.loads(found)["username"] == info["username"]
    changed = recorded_on_kcp(info, placement(NAMED, priority=2), placement("a", priority=1))
    assert json.loads(changed)["username"] == info["username"]
    assert not CHECKS_ON_KCP.admits({"userInfo": info}, placement(NAMED, priority=1), None)


def test_on_kubernetes_not_even_intake_names_a_requester():
    said = STAMPS.values({"userInfo": INTAKE}, placement(NAMED, priority=1), None)["variables"]["requester"]
    assert json.loads(said)["username"] == "intake"


REFS = st.fixed_dictionaries(
    {"name": st.sampled_from(["web", "db"])}, optional={"namespace": st.sampled_from(["default", "shop"])}
)
SELECTORS = st.sampled_from([{"matchLabels": {"app": "web"}}, {"matchLabels": {"app": "db"}}])
TARGETS = st.fixed_dictionaries(
    {"name": st.sampled_from(["eu", "us"])}, optional={"workspace": st.sampled_from(["", "root", "root:a"])}
)
OVERRIDES = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["Force", "Exclude", "Prefer", "Avoid"]),
        "targets": st.lists(TARGETS, min_size=1, max_size=2),
        "which": REFS.map(lambda ref: {"placementRef": ref}) | SELECTORS.map(lambda each: {"placementSelector": each}),
    },
    optional={"priority": st.sampled_from([0, 5])},
).map(lambda drawn: {**{key: value for key, value in drawn.items() if key != "which"}, **drawn["which"]})
STATUSES = st.sampled_from(
    [
        {},
        {"status": {"conditions": [{"type": "Accepted", "status": "True", "reason": "InForce"}]}},
        {"status": {"conditions": [{"type": "Accepted", "status": "False", "reason": "Expired"}]}},
        {"status": {"conditions": [{"type": "Accepted", "status": "False", "reason": "NotAuthorized"}]}},
    ]
)


@given(OVERRIDES, OVERRIDES, st.booleans(), STATUSES)
def test_both_refuse_the_same_contradictions(ours, theirs, itself, status):
    new = {"metadata": {"name": "new"}, "spec": ours}
    other = {"metadata": {"name": "new" if itself else "old"}, "spec": theirs, **status}
    said = guards.contradiction(new, [other])
    assert AGREE.admits({}, new, None, other) == (not said)
    if said:
        assert "PlacementOverride old" in said


def test_a_force_and_an_exclude_of_one_target_contradict_each_other():
    about = {"placementRef": {"name": "web"}, "targets": [{"name": "eu"}]}
    force, exclude = {"type": "Force", **about}, {"type": "Exclude", **about}
    new, old = {"metadata": {"name": "f"}, "spec": force}, {"metadata": {"name": "x"}, "spec": exclude}
    assert guards.contradiction(new, [old]).startswith("it contradicts the PlacementOverride x (Exclude)")
    assert not guards.contradiction({**new, "spec": {**force, "priority": 1}}, [old])
    assert not guards.contradiction({**new, "spec": {**force, "targets": [{"name": "us"}]}}, [old])


@pytest.mark.parametrize("reason", ["Expired", "NotAuthorized", "NoAuthor"])
def test_an_override_that_is_not_in_force_is_in_nobodys_way(reason):
    about = {"placementRef": {"name": "web"}, "targets": [{"name": "eu"}]}
    new = {"metadata": {"name": "f"}, "spec": {"type": "Force", **about}}
    status = {"conditions": [{"type": "Accepted", "status": "False", "reason": reason}]}
    old = {"metadata": {"name": "x"}, "spec": {"type": "Exclude", **about}, "status": status}
    assert AGREE.admits({}, new, None, old)
    assert not guards.contradiction(new, [old])


def test_the_author_of_an_override_is_recorded_as_a_requester_is():
    for hub in (ON_KUBERNETES, ON_KCP):
        stamps, checks = hub[0], hub[2]
        for each in (stamps, checks):
            (rule,) = each["spec"]["matchConstraints"]["resourceRules"]
            assert rule["resources"] == STAMPED
    assert set(guards.STAMPED) == {f"{plural}.{GROUP}" for plural in STAMPED}


def leading(name=None):
    ref = {} if name is None else {"clusterProfileRef": {"namespace": "fleet", "name": name}}
    return {"metadata": {"name": "east"}, "spec": {"unschedulable": False, **ref}}


BY_ACCOUNT = {"username": f"{ACCOUNT}discovery"}
BY_GROUP = {"username": "x", "groups": ["moorage:discovery"]}
OPERATOR = {"username": "root", "groups": ["system:masters"]}


@pytest.mark.parametrize("info", [ALICE, BOB, BY_ACCOUNT, BY_GROUP, OPERATOR, {**BY_GROUP, "extra": SCOPED}], ids=str)
@pytest.mark.parametrize("old", [None, leading(), leading("east"), {"metadata": {"name": "east"}}], ids=str)
@pytest.mark.parametrize("new", [leading(), leading("east"), leading("west"), {"metadata": {"name": "east"}}], ids=str)
def test_a_cluster_profile_is_referred_to_by_discovery_alone_and_left_as_it_is_by_anybody(info, old, new):
    by_discovery = info in (BY_ACCOUNT, BY_GROUP, OPERATOR)
    ref, before = ((each or {}).get("spec", {}).get("clusterProfileRef") for each in (new, old))
    free = ref is None or ref == before
    assert DERIVED.admits({"userInfo": info}, new, old) == (free or by_discovery)
    assert guards.led_by_others(new, old, user_of(info)) == (not (free or by_discovery))
    on_kcp = free or info in (BY_GROUP, OPERATOR)  # a ServiceAccount of this name may be made by anybody there
    assert DERIVED_ON_KCP.admits({"userInfo": info}, new, old) == on_kcp


@pytest.mark.parametrize("workspace", [None, "", "shop", "shop:web"])
def test_a_quota_bounds_a_workspace_below_its_own_where_there_are_any_and_else_none(workspace):
    new = {"metadata": {"name": "q"}, "spec": {"hard": {"cpu": "1"}, **({"workspace": workspace} if workspace else {})}}
    assert BOUND_ON_KCP.admits({}, new) == (not guards.bounds_itself(new)) == bool(workspace)
    assert BOUND.admits({}, new) == (not workspace)
