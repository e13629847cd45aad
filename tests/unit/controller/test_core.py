"""When a placement needs another round, and why."""

import msgspec
import pytest

from services.controller import core
from shared.api import (
    HistoryEntry,
    PlacedTarget,
    PlacementPolicySpec,
    PlacementSpec,
    PlacementStatus,
    Rebalance,
    Taint,
    TargetReference,
    Toleration,
)
from shared.model.policy import PolicyEntry
from shared.model.refs import Head, PlacementRef
from shared.model.request import HeadEntry, PreviousChoice, Requester, Waiting, WorkloadObject
from shared.model.target import Target

REF = PlacementRef(workspace="root:a", namespace="n", name="p")
SPEC = msgspec.convert({"workload": [{"apiVersion": "v1", "kind": "Pod", "name": "x"}]}, PlacementSpec)
POLICY = msgspec.convert({"rules": [{"name": "r", "expression": "true"}]}, PlacementPolicySpec)


def head(attempt: int = 1, uid: str = "u") -> Head:
    return Head(uid=uid, generation=1, attempt=attempt)


def entry(digest: str = "a.b.c", **fields) -> HeadEntry:
    return HeadEntry(head=fields.pop("head", head()), digest=digest, **fields)


def waiting(tries: int = 1, tried_at: float = 100.0, next_try: float = 110.0, **fields) -> Waiting:
    return Waiting(
        placement=REF, head=fields.get("head", head()), since=50.0, tries=tries, tried_at=tried_at, next_try=next_try
    )


def policy(workspace: str, name: str = "p", generation: int = 1) -> PolicyEntry:
    return PolicyEntry(workspace=workspace, name=name, uid="x", generation=generation, spec=POLICY)


def cause(known=None, digest="a.b.c", decision=None, room=None, leaving=(), left=(), is_due=False, unanswered=False):
    found = core.next_cause(known, "u", digest, decision, room, leaving, left, is_due=is_due, unanswered=unanswered)
    return found.code if found else None


def reserving(**targets: dict[str, float]) -> core.Decision:
    return core.Decision(attempt=1, reserved=targets)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (reserving(a={"cpu": 2.0}), reserving(a={"cpu": 1.0}), True),
        (reserving(a={"cpu": 2.0, "memory": 1.0}), reserving(a={"cpu": 3.0, "memory": 0.5}), True),
        (reserving(a={"cpu": 2.0, "gpu": 1.0}), reserving(a={"cpu": 2.0}), True),
        (reserving(a={"cpu": 1.0}, b={"cpu": 2.0}), reserving(a={"cpu": 1.0}, b={"cpu": 1.0}), True),
        (reserving(a={"cpu": 2.0}), reserving(a={"cpu": 2.0}), False),
        (reserving(a={"cpu": 2.0}), reserving(a={"cpu": 3.0, "gpu": 1.0}), False),
        (reserving(a={"cpu": 2.0}), reserving(b={"cpu": 1.0}), False),
        (reserving(), reserving(a={"cpu": 1.0}), False),
    ],
)
def test_a_decision_gives_back_where_it_takes_less_of_a_target_than_before(old, new, expected) -> None:
    assert core.gives_back(old, new) is expected


DECIDED = core.Decision(attempt=1, selected=(PreviousChoice(target="root:p/t"),))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "Created"),
        ({"known": entry(head=head(uid="other"))}, "Created"),
        ({"known": entry(deleted=True)}, "Created"),
        ({"known": entry(), "digest": "x.b.c"}, "SpecChanged"),
        ({"known": entry(), "digest": "a.x.c"}, "WorkloadChanged"),
        ({"known": entry(), "digest": "a.b.x"}, "PolicyChanged"),
        ({"known": entry(), "decision": DECIDED}, None),
        ({"known": entry(), "decision": DECIDED, "leaving": ["root:p/t"]}, "TargetLost"),
        ({"known": entry(leaving=("root:p/t",)), "decision": DECIDED, "leaving": ["root:p/t"]}, None),
        (
            {"known": entry(leaving=("root:p/t",)), "decision": DECIDED, "leaving": ["root:p/t", "root:p/u"]},
            "TargetLost",
        ),
        (
            {"known": entry(leaving=("root:p/t",)), "decision": DECIDED, "leaving": ["root:p/t"], "unanswered": True},
            "TargetLost",
        ),
        ({"known": entry(), "decision": DECIDED, "unanswered": True}, None),
        ({"known": entry(), "decision": DECIDED, "left": ["root:p/x"]}, None),
        ({"known": entry(), "decision": DECIDED, "left": ["root:p/x"], "unanswered": True}, "Resync"),
        ({"known": entry()}, None),
        ({"known": entry(), "unanswered": True}, "Resync"),
        ({"known": entry(head=head(2)), "decision": DECIDED, "leaving": ["root:p/t"]}, None),
        ({"known": entry(), "room": waiting(), "unanswered": True}, None),
        ({"known": entry(), "room": waiting(), "is_due": True}, "Waiting"),
        ({"known": entry(), "room": waiting(), "decision": DECIDED, "leaving": ["root:p/t"]}, None),
        ({"known": entry(head=head(2)), "room": waiting(), "is_due": True}, None),
    ],
)
def test_the_cause_of_another_round(given, expected):
    assert cause(**given) == expected


def test_the_digest_depends_on_everything_that_a_decision_depends_on_and_on_no_order():
    base = core.digest(SPEC, {"a": "1", "b": "2"}, None, (), "", [policy("root"), policy("root:a")])
    assert core.digest(SPEC, {"b": "2", "a": "1"}, None, (), "", [policy("root:a"), policy("root")]) == base
    load = WorkloadObject(api_version="v1", kind="Pod", namespace="n", name="x")
    others = [
        core.digest(SPEC, {"a": "1"}, None, (), "", []),
        core.digest(SPEC, {}, Requester(username="u"), (), "", []),
        core.digest(SPEC, {}, None, (load,), "", []),
        core.digest(SPEC, {}, None, (), "it selects nothing", []),
        core.digest(SPEC, {}, None, (), "", [], ("ConfigMap settings@u/1",)),
        core.digest(SPEC, {}, None, (), "", [], ("ConfigMap settings@u/2",)),
        core.digest(SPEC, {}, None, (), "", [policy("root")]),
        core.digest(SPEC, {}, None, (), "", [policy("root", generation=2)]),
    ]
    assert len({base, *others}) == len(others) + 1


def test_policies_hold_in_their_workspace_and_below():
    policies = [policy("root"), policy("root:a"), policy("root:ab"), policy("root:a:b")]
    assert [each.workspace for each in core.in_force("root:a", policies)] == ["root", "root:a"]
    assert core.in_force("", [policy("")]) == [policy("")]


TAINT = Taint(key="maintenance", value="", effect="NoExecute")


@pytest.mark.parametrize(
    ("fields", "now", "leaves"),
    [
        ({}, 1000.0, False),
        ({"lost_since": 900.0}, 959.0, False),
        ({"lost_since": 900.0}, 960.0, True),
        ({"lost_since": 900.0, "evict_after": 10.0}, 910.0, True),
        ({"lost_since": 900.0, "evict_after": 3600.0}, 960.0, True),
        ({"taints": (TAINT,)}, 0.0, True),
        ({"taints": (Taint(key="k", effect="NoSchedule"),)}, 0.0, False),
    ],
)
def test_a_target_is_left_when_it_is_lost_for_too_long_or_expels(fields, now, leaves):
    target = Target(workspace="root:p", name="t", **fields)
    assert core.evicted([(target, core.expelling(target, {}, now))], (), 60.0, now) == (["root:p/t"] if leaves else [])


EVER = Toleration(key="maintenance", operator="Exists")


def tolerated_for(seconds: int) -> Toleration:
    return Toleration(key="maintenance", operator="Exists", effect="NoExecute", toleration_seconds=seconds)


@pytest.mark.parametrize(
    ("tolerations", "leaves"),
    [
        ([EVER], False),
        ([tolerated_for(31)], False),
        ([tolerated_for(30)], True),
        ([tolerated_for(-1)], True),
        ([tolerated_for(30), EVER], True),
        ([EVER, tolerated_for(30)], False),
    ],
)
def test_a_tolerated_expulsion_is_a_reason_to_leave_only_when_its_time_is_over(tolerations, leaves):
    target = Target(workspace="root:p", name="t", taints=(TAINT,))
    assert bool(core.evicted([(target, {TAINT: 970.0})], tolerations, 60.0, 1000.0)) is leaves


def test_an_expelling_taint_is_remembered_since_it_was_first_seen_and_forgotten_when_it_goes():
    mild = Taint(key="k", effect="NoSchedule")
    target = Target(workspace="root:p", name="t", taints=(TAINT, mild))
    assert core.expelling(target, {}, 5.0) == {TAINT: 5.0}
    assert core.expelling(target, {TAINT: 5.0}, 9.0) == {TAINT: 5.0}
    assert core.expelling(Target(workspace="root:p", name="t"), {TAINT: 5.0}, 9.0) == {}


def refs(names: str) -> tuple[TargetReference, ...]:
    return tuple(TargetReference(workspace="root:p", name=name) for name in names.split())


def changed(when: str, before: str, after: str) -> HistoryEntry:
    return HistoryEntry(when=f"2026-01-01T00:00:{when}Z", why="", from_=refs(before), to=refs(after))


@pytest.mark.parametrize(
    ("history", "second"),
    [
        ((), None),
        ((changed("01", "", "a b"),), None),
        ((changed("02", "a", "a b"), changed("01", "a b", "a")), None),
        ((changed("09", "b", "b c"), changed("07", "a", "b"), changed("03", "x", "a")), 7),
        ((changed("xx", "a", "b"),), None),
    ],
)
def test_a_move_leaves_a_target_for_another(history, second):
    assert core.moved_at(history) == (1767225600 + second if second is not None else 0.0)


BETTER = Rebalance(type="WhenBetter", cooldown="10m")


@pytest.mark.parametrize(
    ("rebalance", "moved_at", "looked_at", "world", "expected"),
    [
        (BETTER, 0.0, 900.0, 950.0, True),
        (BETTER, 400.0, 900.0, 950.0, True),
        (BETTER, 401.0, 900.0, 950.0, False),
        (BETTER, 0.0, 941.0, 950.0, False),
        (BETTER, 0.0, 900.0, 900.0, False),
        (Rebalance(), 0.0, 900.0, 950.0, False),
    ],
)
def test_better_targets_are_looked_for_after_the_cooldown_when_something_changed(
    rebalance, moved_at, looked_at, world, expected
):
    assert core.may_improve(rebalance, moved_at, looked_at, world, 60.0, 1000.0) is expected


@pytest.mark.parametrize(("leaving", "expected"), [((), "Rebalance"), (("root:p/t",), "TargetLost")])
def test_a_loss_comes_before_an_improvement(leaving, expected):
    found = core.next_cause(
        entry(), "u", "a.b.c", DECIDED, None, leaving, (), is_due=False, unanswered=False, may_improve=True
    )
    assert found.code == expected


@pytest.mark.parametrize(
    ("room", "changed_at", "now", "expected"),
    [
        (waiting(), 0.0, 109.9, False),
        (waiting(), 0.0, 110.0, True),
        (waiting(), 100.5, 100.6, False),
        (waiting(), 100.5, 101.0, True),
        (waiting(tries=5), 100.5, 110.0, True),
        (waiting(tries=5, next_try=500.0), 100.5, 115.9, False),
        (waiting(tries=5, next_try=500.0), 100.5, 116.0, True),
        (waiting(tries=50, next_try=500.0), 100.5, 130.0, True),
        (waiting(tries=100_000, next_try=500.0), 100.5, 130.0, True),
    ],
)
def test_waiting_ends_in_time_or_soon_after_a_change_that_may_help(room, changed_at, now, expected):
    assert core.due(room, changed_at, now) is expected


def test_waiting_grows_up_to_its_bound_and_starts_anew_for_another_object():
    room = None
    delays = []
    for attempt in range(1, 9):
        room = core.wait(REF, head(attempt), room, 99.0, 100.0, contended=False, first=10.0, most=300.0)
        delays.append(room.next_try - 100.0)
    assert delays == [10, 20, 40, 80, 160, 300, 300, 300]
    assert room.since == 100.0
    anew = core.wait(REF, head(1, uid="v"), room, 199.0, 200.0, contended=False, first=10.0, most=300.0)
    assert (anew.tries, anew.since, anew.next_try) == (1, 200.0, 210.0)


@pytest.mark.parametrize("contended", [True, False])
def test_waiting_has_no_last_try(contended):
    room = core.wait(REF, head(), waiting(tries=100_000), 99.0, 100.0, contended=contended, first=10.0, most=300.0)
    assert room.next_try == (105.0 if contended else 400.0)


def test_who_lost_a_race_comes_again_within_moments():
    room = core.wait(REF, head(), None, 99.0, 100.0, contended=True, first=10.0, most=300.0)
    assert room.next_try == pytest.approx(100.2)


@pytest.mark.parametrize(("changed_at", "expected"), [(98.9, False), (99.1, True), (100.1, True)])
def test_what_changes_while_a_round_is_under_way_counts_as_a_change_after_it(changed_at, expected):
    room = core.wait(REF, head(), None, 99.0, 100.0, contended=False, first=10.0, most=300.0)
    assert core.due(room, changed_at, 101.0) is expected


def test_what_was_suspended_needs_a_round_when_that_ends():
    known = msgspec.structs.replace(entry(), digest=core.SUSPENDED)
    assert core.suspended(known, "u")
    assert not core.suspended(known, "another")
    assert not core.suspended(entry(), "u")
    assert not core.suspended(None, "u")
    found = core.next_cause(known, "u", "a.b.c", DECIDED, None, (), (), is_due=False, unanswered=False)
    assert found.code == "SpecChanged"


@pytest.mark.parametrize(
    ("phase", "targets", "attempts", "expected"),
    [
        ("Ready", {"a": "Ready", "b": "Ready"}, {"a": 3, "b": 3}, True),
        ("Degraded", {"a": "Ready", "b": "Degraded"}, {"a": 3, "b": 3}, True),
        ("Applying", {"a": "Ready", "b": "Applied", "left": "Removing"}, {"a": 3, "b": 3, "left": 2}, True),
        ("Applying", {"a": "Ready", "b": "Applying"}, {"a": 3, "b": 3}, False),
        ("Degraded", {"a": "Ready", "b": "Failed"}, {"a": 3, "b": 3}, False),
        ("Ready", {"a": "Ready"}, {"a": 3}, False),
        ("Ready", {"a": "Ready", "b": "Ready"}, {"a": 3, "b": 2}, False),
        ("Unschedulable", {"a": "Ready", "b": "Ready"}, {"a": 3, "b": 3}, False),
        ("Pending", {}, {}, False),
    ],
)
def test_a_placement_is_settled_when_it_is_applied_in_all_that_was_selected(phase, targets, attempts, expected):
    placed = tuple(PlacedTarget(workspace="root:p", name=name, phase=each) for name, each in targets.items())
    decision = core.Decision(attempt=3, selected=(PreviousChoice(target="root:p/a"), PreviousChoice(target="root:p/b")))
    written = {f"root:p/{name}": attempt for name, attempt in attempts.items()}
    assert core.settled(PlacementStatus(phase=phase, targets=placed), decision, written) is expected


def test_a_refusal_that_nobody_waits_with_is_not_settled():
    assert not core.settled(PlacementStatus(phase="Unschedulable"), core.Decision(attempt=3), {})


@pytest.mark.parametrize(("in_vain", "least"), [(0, 600), (1, 1200), (2, 2400), (4, 9600), (5, 9600), (1000, 9600)])
def test_each_round_in_vain_gives_a_placement_twice_as_long_to_be_in_place(in_vain, least):
    assert least <= core.settling(600, entry(in_vain=in_vain)) < 1.5 * least


def test_placements_that_are_not_in_place_do_not_come_all_at_once():
    times = [core.settling(600, entry(head=Head(uid=f"u{n}", generation=1, attempt=1))) for n in range(100)]
    assert all(any(low <= each < low + 60 for each in times) for low in range(600, 900, 60))


def test_what_was_decided_and_is_not_in_place_has_another_round():
    found = core.next_cause(
        entry(), "u", "a.b.c", DECIDED, None, (), (), is_due=False, unanswered=True, unsettled=True, may_improve=True
    )
    assert (found.code, found.detail) == ("Resync", "not in place for long")
