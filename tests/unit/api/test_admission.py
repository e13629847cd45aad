"""The admission policies of real hubs, and the sandbox's guards, which do the same: every case is put to both.

The policies are evaluated by a CEL implementation that type-checks them; tests/security puts them to a real server.
"""

import json

import pytest
import yaml
from cel_expr_python import cel
from cel_expr_python.ext import ext_optional, ext_strings
from hypothesis import given
from hypothesis import strategies as st

from services.sandbox.access.users import User
from services.sandbox.objects import guards
from shared.api.generate.__main__ import ROOT
from shared.hub.names import REQUESTER_ANNOTATION
from shared.model.request import Requester

ENVIRONMENT = cel.NewEnv(
    variables=dict.fromkeys(("request", "object", "oldObject", "variables"), cel.Type.DYN),
    extensions=[ext_strings.ExtStrings(), ext_optional.ExtOptional()],
)
GROUP = "placement.moorage.io"
ALICE = {"username": "alice", "uid": "7", "groups": ["shop", "system:authenticated"]}
BOB = {"username": "bob"}
SCOPED = {"authentication.kcp.io/scopes": ["cluster:2x"]}
OF_A_WORKSPACE = {"authentication.kubernetes.io/cluster-name": ["2x"]}
ACCOUNT = "system:serviceaccount:moorage-system:"


def compiled(expression):
    # The engine of these tests has no sort(); maps with one key, or keys given in order, need none.
    return ENVIRONMENT.compile(expression.replace(".sort()", ""))


class Policy:
    """One admission policy, evaluated."""

    def __init__(self, document):
        self.spec = document["spec"]
        self.variables = {each["name"]: compiled(each["expression"]) for each in self.spec["variables"]}
        self.validations = [compiled(each["expression"]) for each in self.spec.get("validations", ())]

    def values(self, request, new=None, old=None):
        data = {"request": request, "object": new, "oldObject": old, "variables": {}}
        for name, program in self.variables.items():
            data["variables"][name] = program.eval(data=data).plain_value()
        return data

    def admits(self, request, new=None, old=None):
        data = self.values(request, new, old)
        return all(program.eval(data=data).plain_value() for program in self.validations)


def documents(path):
    return list(yaml.safe_load_all((ROOT / path).read_text()))


ON_KUBERNETES, ON_KCP = documents("services/cli/hub/admission.yaml"), documents("deploy/kcp/admission.yaml")
STAMPS, CHECKS, DECIDED = (Policy(each) for each in ON_KUBERNETES if not each["kind"].endswith("Binding"))
DECIDED_ON_KCP = Policy(ON_KCP[4])


def user_of(info):
    extra = tuple((key, tuple(values)) for key, values in info.get("extra", {}).items())
    return User(info["username"], tuple(info.get("groups", ())), info.get("uid", ""), extra)


def placement(annotation=None, **spec):
    annotations = {} if annotation is None else {"annotations": {REQUESTER_ANNOTATION: annotation, "other": "b"}}
    return {"metadata": {"name": "p", **annotations}, "spec": spec}


def recorded(info, new, old=None):
    """The requester that both record, with what both write said the same way; it passes the check at the end."""
    said = STAMPS.values({"userInfo": info}, new, old)["variables"]["requester"]
    kept = guards.requester(new, old, user_of(info))
    stored = {**new, "metadata": {**new["metadata"], "annotations": {REQUESTER_ANNOTATION: said} if said else {}}}
    assert CHECKS.admits({"userInfo": info}, stored, old)
    if said.startswith("{"):
        assert json.loads(said) == json.loads(kept)
    else:
        assert said == kept
    return said


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


def test_a_record_of_an_earlier_release_still_reads():
    import msgspec

    found = msgspec.json.decode('{"username":"alice","groups":["shop"]}', type=Requester)
    assert found == Requester(username="alice", groups=("shop",))


MINE = {
    "decision": ("placementdecisions", "placementdecisions/status"),
    "binding": ("placementbindings", "placementbindings/status"),
    "status": ("placements/status", "placementpolicies/status"),
    "controller": ("placementoverrides/status",),
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


def test_on_kcp_the_same_is_guarded_by_the_same_rules_and_only_who_may_is_different():
    def without_identities(document):
        spec = {**document["spec"]}
        if document["metadata"]["name"].startswith("decided-by") and "variables" in spec:
            spec["variables"] = [each for each in spec["variables"] if each["name"] != "collector"]
            (rule,) = spec["validations"]
            spec["validations"] = [{**rule, "expression": ""}]
        return {**document, "spec": spec}

    assert [without_identities(each) for each in ON_KCP] == [without_identities(each) for each in ON_KUBERNETES]


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
    assert {what for what in GUARDED if may_write(info, what, taken_off)} == {"placementdecisions", "placementbindings"}


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
