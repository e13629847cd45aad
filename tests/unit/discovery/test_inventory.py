"""A SyncTarget and what was seen of its cluster: as inventory entry, and as its status."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.discovery.capacity.nodes import Node, Nodes, sum_nodes
from services.discovery.health import NOT_PROBED, UNREACHABLE, Health
from services.discovery.inventory import (
    NO_APIS,
    NO_CAPACITY,
    NO_NODES,
    ClusterFacts,
    Viewpoint,
    status_of,
    target_of,
    worth_writing,
)
from shared.api import SyncTarget, decode_synctarget
from shared.hub.quantities import amounts, quantities
from shared.kube.times import rfc3339
from shared.model.refs import PlacementRef
from shared.model.target import ApiKind, Stray, Target

NOW = 1_700_000_000.0
SECRETS = ApiKind(group="", resource="secrets", kind="Secret", versions=("v1",))
NODES = Nodes(3, frozenset({"n1", "n2"}), {"cpu": 8.0}, {"cpu": 7.5, "memory": 2.0**33})
WELL = Health(answered_at=NOW, latency=12.0, steady=12.0, moved=True)
LOOK = ClusterFacts(health=WELL, nodes=NODES, apis=(SECRETS,), kubernetes_version="v1.36.0")


def offered(status=None, uid="u1", generation=1, **spec):
    meta = {"name": "east", "uid": uid, "generation": generation, "labels": {"region": "eu"}}
    return decode_synctarget(
        {
            "apiVersion": "placement.moorage.io/v1alpha1",
            "kind": "SyncTarget",
            "metadata": meta,
            "spec": spec,
            "status": status or {},
        }
    )


def node(ready="True", *, name="n", unschedulable=False, taints=None, **room):
    return msgspec.convert(
        {
            "metadata": {"name": name},
            "spec": {"unschedulable": unschedulable, "taints": taints},
            "status": {
                "capacity": room,
                "allocatable": room,
                "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": ready}],
            },
        },
        Node,
    )


LOST = Health(lost_since=NOW, failing_since=NOW, judged_at=NOW)


def given_up(health=LOST, previous=None):
    """The entry of a target that was lost, after nobody took the doubt back."""
    doubted = entry(ClusterFacts(health=health), previous=previous)
    return entry(ClusterFacts(health=msgspec.structs.replace(health, judged_at=NOW + 8)), previous=doubted)


def entry(seen=LOOK, found=None, previous=None):
    return target_of("root:p", found or offered(), seen, previous, Viewpoint())


def test_nodes_that_are_ready_and_schedulable_are_added_up():
    control_plane = [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]
    gpu = [{"key": "gpu", "effect": "NoSchedule"}]
    nodes = sum_nodes(
        [
            node(name="a", cpu="2", memory="4Gi"),
            node(name="b", cpu="1500m", memory="1Gi", taints=gpu),
            node("False", cpu="64"),
            node("Unknown", cpu="64"),
            node(unschedulable=True, cpu="64"),
            node(taints=control_plane, cpu="64"),
            Node(),
        ]
    )
    assert (nodes.count, nodes.usable) == (7, {"a", "b"})
    assert nodes.allocatable == {"cpu": 3.5, "memory": 5 * 2.0**30}


def test_what_is_no_quantity_counts_as_absent():
    assert amounts({"cpu": "2", "memory": "lots", "pods": 110}) == {"cpu": 2.0, "pods": 110.0}


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["cpu", "memory"]),
            st.one_of(
                st.floats(allow_nan=False, allow_infinity=False).map(repr),
                st.sampled_from(["1e308", "-1e308", "-1", "9223372036854775807", "8Ei", "1e999", "1e-999"]),
            ),
        ),
        max_size=5,
    )
)
def test_whatever_nodes_say_the_entry_and_the_status_can_be_written(rooms):
    nodes = sum_nodes(node(**room) for room in rooms)
    assert all(0.0 <= amount <= 2.0**63 for total in (nodes.capacity, nodes.allocatable) for amount in total.values())
    seen = msgspec.structs.replace(LOOK, nodes=nodes)
    target = entry(seen)
    assert msgspec.json.decode(msgspec.json.encode(target), type=Target) == target
    status = status_of(offered(), target, seen, NOW)
    assert amounts(status.allocatable) == pytest.approx(nodes.allocatable, rel=1e-9, abs=1e-3)


def test_a_node_with_thousands_of_resources_adds_a_few():
    nodes = sum_nodes([node(**{f"r{number}": "1" for number in range(5000)})])
    assert len(nodes.capacity) == len(nodes.allocatable) == 64


def test_other_quantities_that_make_no_sense_are_no_error():
    found = offered({"allocated": {"cpu": "-3"}, "usage": {"cpu": "1e300"}})
    target = entry(found=found)
    assert (target.allocated, target.usage) == ({}, {"cpu": 2.0**63})
    assert msgspec.json.decode(msgspec.json.encode(target), type=Target) == target


@given(st.dictionaries(st.sampled_from(["cpu", "memory", "pods"]), st.integers(0, 2**50).map(lambda n: n / 1000)))
def test_quantities_are_exact_to_a_thousandth(resources):
    assert amounts(quantities(resources)) == pytest.approx(resources, abs=1e-3)


def test_an_entry_holds_what_the_object_says_and_what_was_seen():
    found = offered(
        {
            "allocated": {"cpu": "1"},
            "usage": {"cpu": "500m"},
            "scores": [
                {"name": "green", "value": 80, "validUntil": "2030-01-01T00:00:00Z"},
                {"name": "odd", "value": 1, "validUntil": "soon"},
            ],
            "latency": [{"from": "paris", "milliseconds": 9}],
        },
        kubeconfigSecretRef={"name": "k", "namespace": "n"},
        taints=[{"key": "spot", "effect": "NoSchedule"}],
        unschedulable=True,
        evictAfter="1m30s",
        allowedWorkspaces={"paths": ["root:team"]},
        cost={"perCpuHour": 0.5, "perGiBHour": 0.1},
    )
    target = entry(found=found)
    assert (target.id, target.uid, target.labels) == ("root:p/east", "u1", {"region": "eu"})
    assert (target.ready, target.reason, target.lost_since) == (True, "", 0.0)
    assert (target.unschedulable, target.evict_after, target.nodes) == (True, 90.0, 3)
    assert (target.allocated, target.usage) == ({"cpu": 1.0}, {"cpu": 0.5})
    assert target.latency == {"paris": 9.0, "hub": 12.0}
    assert target.scores["green"].valid_until == 1893456000.0
    assert target.scores["odd"].valid_until == 0.0
    assert (target.cost_per_cpu_hour, target.cost_per_gib_hour) == (0.5, 0.1)
    assert target.kubeconfig is not None
    assert (target.kubeconfig.namespace, target.kubeconfig.name, target.kubeconfig.key) == ("n", "k", "kubeconfig")
    assert target.allowed_workspaces is not None


def test_an_entry_holds_quotas_by_workspace_and_of_two_for_one_the_lesser():
    quotas = [
        {"workspace": "root:team", "hard": {"cpu": "10", "memory": "20Gi"}},
        {"workspace": "", "hard": {"pods": 50, "gpu": "1e999"}},
        {"workspace": "root:team", "hard": {"cpu": "500m", "memory": "30Gi"}},
        {"workspace": "root:rival!", "hard": {}},
    ]
    target = entry(found=offered({}, quotas=quotas))
    assert target.quotas == {
        "root:team": {"cpu": 0.5, "memory": 20 * 2.0**30},
        "": {"pods": 50.0},  # what is more than any number bounds nothing
        "root:rival!": {},
    }
    assert entry(None, offered({}), previous=target).quotas == {}


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (LOOK, ""),
        (msgspec.structs.replace(LOOK, apis=None), NO_APIS),
        (msgspec.structs.replace(LOOK, nodes=None), NO_CAPACITY),
        (msgspec.structs.replace(LOOK, nodes=Nodes(3, frozenset(), {}, {})), NO_NODES),
        (ClusterFacts(health=Health()), NOT_PROBED),
        (ClusterFacts(health=Health(problem="without a usable kubeconfig")), "without a usable kubeconfig"),
        (None, NOT_PROBED),
    ],
)
def test_a_target_is_ready_or_says_why_not(seen, reason):
    target = entry(seen)
    assert (target.ready, target.reason) == (not reason, reason)


def test_what_was_not_read_this_time_is_kept():
    before = entry()
    after = entry(ClusterFacts(health=WELL), previous=before)
    assert after == before
    assert entry(None, previous=before) == before


def test_another_object_of_the_same_name_begins_anew():
    after = entry(None, offered(uid="u2"), previous=entry())
    assert (after.ready, after.apis, after.reason) == (False, (), NOT_PROBED)


def test_capacity_that_others_report_serves_where_nodes_cannot_be_read():
    found = offered({"allocatable": {"cpu": "4"}, "capacity": {"cpu": "5"}, "nodes": 2})
    target = entry(msgspec.structs.replace(LOOK, nodes=None), found)
    assert (target.ready, target.allocatable, target.capacity, target.nodes) == (True, {"cpu": 4.0}, {"cpu": 5.0}, 2)


COUNTED = msgspec.structs.replace(LOOK, allocated={"cpu": 1.5, "pods": 2.0})
NOT_COUNTED = msgspec.structs.replace(LOOK, allocated_problem="403 Forbidden")


def test_what_was_counted_stands_against_what_is_reported():
    found = offered({"allocated": {"cpu": "9"}})
    counted = entry(COUNTED, found)
    assert (counted.allocated, counted.counted) == ({"cpu": 1.5, "pods": 2.0}, True)
    assert entry(None, found, previous=counted) == counted
    assert entry(LOOK, found, previous=counted) == counted


def test_where_pods_may_not_be_counted_what_is_reported_holds():
    found = offered({"allocated": {"cpu": "9"}})
    target = entry(NOT_COUNTED, found, previous=entry(COUNTED, found))
    assert (target.allocated, target.counted) == ({"cpu": 9.0}, False)
    assert entry(None, offered({"allocated": {"cpu": "8"}}), previous=target).allocated == {"cpu": 8.0}


@pytest.mark.parametrize(
    ("seen", "status", "message"),
    [
        (COUNTED, "True", ""),
        (NOT_COUNTED, "False", "allocated is as reported: 403 Forbidden"),
        (LOOK, None, None),
    ],
)
def test_a_condition_says_whether_pods_are_counted(seen, status, message):
    conditions = {each.type: each for each in written(entry(seen), seen).status.conditions}
    found = conditions.get("PodsCounted")
    assert (found.status, found.message) == (status, message) if found else status is None
    later = written(entry(seen), LOOK, written(entry(seen), seen))
    assert {each.type: each for each in later.status.conditions} == conditions


def test_copies_that_measure_differently_do_not_correct_each_other():
    far = ClusterFacts(health=msgspec.structs.replace(WELL, latency=40.0, steady=40.0))
    near = ClusterFacts(health=msgspec.structs.replace(WELL, moved=False))
    known = entry(far)
    assert known.latency == {"hub": 40.0}
    assert entry(near, previous=known).latency == {"hub": 40.0}
    assert entry(ClusterFacts(health=WELL), previous=known).latency == {"hub": 12.0}
    assert entry(near).latency == {"hub": 12.0}  # nobody has told any


def test_a_copy_that_is_not_sure_leaves_the_judgement_of_another():
    ready, failing = entry(), ClusterFacts(health=Health(answered_at=NOW, failing_since=NOW))
    lost = given_up(previous=ready)
    assert entry(failing, previous=ready).ready
    assert entry(failing, previous=lost).lost_since == NOW + 8
    later = Health(lost_since=NOW + 30, failing_since=NOW + 30, judged_at=NOW + 90)
    assert entry(ClusterFacts(health=later), previous=lost).lost_since == NOW + 8
    assert entry(previous=lost).lost_since == 0.0


def written(target, seen, found=None, now=NOW):
    """The SyncTarget with the status that is written for it."""
    found = found or offered()
    return msgspec.structs.replace(found, status=status_of(found, target, seen, now))


def test_the_status_says_the_same_for_people():
    found = written(entry(), LOOK)
    status = found.status
    assert {each.type: each.status for each in status.conditions} == {
        "Ready": "True",
        "Reachable": "True",
        "HeartbeatHealthy": "True",
        "APIsDiscovered": "True",
    }
    assert status.allocatable == {"cpu": "7500m", "memory": "8589934592"}
    assert [(api.kind, api.preferred_version) for api in status.apis] == [("Secret", "v1")]
    assert (status.nodes, status.kubernetes_version) == (3, "v1.36.0")
    assert status.last_heartbeat_time == rfc3339(NOW, "seconds")
    assert decode_synctarget(msgspec.json.encode(found)).status == status


def test_a_lost_target_says_why_in_its_conditions():
    health = msgspec.structs.replace(LOST, detail="connection refused")
    status = written(given_up(health, entry()), ClusterFacts(health=health), written(entry(), LOOK)).status
    conditions = {each.type: each for each in status.conditions}
    assert {name: each.status for name, each in conditions.items()} == {
        "Ready": "False",
        "Reachable": "False",
        "HeartbeatHealthy": "False",
        "APIsDiscovered": "True",
    }
    assert conditions["Ready"].message == UNREACHABLE
    assert conditions["Reachable"].message == "connection refused"


def test_before_the_first_answer_everything_is_unknown():
    seen = ClusterFacts(health=Health(failing_since=NOW))
    status = written(entry(seen), seen).status
    assert {each.status for each in status.conditions} == {"Unknown"}
    assert status.last_heartbeat_time is None


def test_a_broken_api_group_is_named():
    seen = msgspec.structs.replace(LOOK, api_problem="metrics.k8s.io: v1beta1 is not available")
    conditions = {each.type: each for each in written(entry(seen), seen).status.conditions}
    assert conditions["APIsDiscovered"].status == "False"
    assert conditions["APIsDiscovered"].message == "metrics.k8s.io: v1beta1 is not available"
    assert conditions["Ready"].status == "True"


def test_conditions_and_fields_of_others_stay_out_of_what_is_applied():
    other = {"type": "Audited", "status": "True", "lastTransitionTime": rfc3339(NOW, "seconds")}
    found = offered({"conditions": [other], "allocated": {"cpu": "1"}, "usage": {"cpu": "1"}})
    status = status_of(found, entry(found=found), LOOK, NOW)
    assert "Audited" not in {each.type for each in status.conditions}
    assert (status.allocated, status.usage, status.scores) == ({}, {}, ())


@pytest.mark.parametrize(
    ("change", "now", "worth"),
    [
        ({}, NOW + 20, False),
        ({}, NOW + 299, False),
        ({}, NOW + 300, True),
        ({"nodes": Nodes(4, NODES.usable, {"cpu": 8.0}, {"cpu": 9.0})}, NOW + 1, True),
        ({"apis": ()}, NOW + 1, True),
        ({"kubernetes_version": "v1.37.0"}, NOW + 1, True),
    ],
)
def test_a_status_is_written_when_it_is_news_or_old(change, now, worth):
    found = written(entry(), LOOK)
    seen = msgspec.structs.replace(LOOK, health=msgspec.structs.replace(WELL, answered_at=now), **change)
    status = status_of(found, entry(seen, found, entry()), seen, now)
    assert worth_writing(found, status, now, 300.0) is worth


def test_another_wording_of_the_same_failure_is_no_news():
    first = msgspec.structs.replace(LOST, detail="port 1 refused")
    found = written(given_up(first), ClusterFacts(health=first))
    again = ClusterFacts(health=msgspec.structs.replace(LOST, detail="port 2 refused"))
    target = entry(again, found, given_up(first))
    assert not worth_writing(found, status_of(found, target, again, NOW + 900), NOW + 900, 300.0)


def test_an_empty_sync_target_is_no_error():
    assert not entry(ClusterFacts(health=Health()), SyncTarget()).ready


def test_nothing_that_was_seen_of_one_cluster_is_said_of_another_behind_the_same_name():
    """Each field of an entry is the SyncTarget's, a judgement of now, or forgotten."""
    known = msgspec.structs.replace(
        entry(msgspec.structs.replace(LOOK, cluster="one")),
        capacity={"cpu": 1.0},
        allocatable={"cpu": 1.0},
        allocated={"cpu": 1.0},
        counted=True,
        nodes=9,
        apis=(ApiKind(group="old.example.com", resource="olds", kind="Old", versions=("v1",)),),
        claims={"shop": "root:team"},
        strays=(Stray(placement=PlacementRef(workspace="w", namespace="n", name="p")),),
        latency={"hub": 7.0},
        kubernetes_version="v1.1",
    )
    bare = ClusterFacts(health=LOOK.health, cluster="other")
    found = entry(bare, previous=known)
    fresh = entry(bare)
    of_the_object = {"workspace", "name", "uid", "labels", "kubeconfig", "terms", "created", "taints"}
    differing = {
        field.name
        for field in msgspec.structs.fields(Target)
        if getattr(found, field.name) != getattr(fresh, field.name)
    }
    assert differing - of_the_object == set()
    assert (found.cluster, found.ready) == ("other", False)


def test_the_version_of_a_kubeconfig_is_that_by_which_the_cluster_was_found_and_goes_with_another_reference():
    named = offered(kubeconfigSecretRef={"namespace": "n", "name": "k"})
    seen = msgspec.structs.replace(LOOK, cluster="one", credentials="u/7")
    known = entry(seen, named)
    assert known.kubeconfig.version == "u/7"
    assert entry(msgspec.structs.replace(seen, cluster=None, credentials="u/8"), named, known) == known
    assert entry(None, named, known).kubeconfig.version == "u/7"
    other = offered(kubeconfigSecretRef={"namespace": "n", "name": "other"})
    assert entry(None, other, known).kubeconfig.version == ""
