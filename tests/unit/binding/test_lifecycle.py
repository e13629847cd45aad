"""The life of a PlacementBinding."""

from typing import Any

import msgspec
import pytest

from services.binding import lease, lifecycle
from services.binding.core import Wanted
from services.binding.judge import Order, judge, order_for
from services.binding.trouble import lasting, passing
from shared.api import (
    BoundObject,
    ObjectMeta,
    ObjectReference,
    Placement,
    PlacementBinding,
    PlacementDecision,
    PlacementDecisionStatus,
    PlacementSpec,
    ScoredTarget,
    TargetReference,
    get_condition,
    set_condition,
)
from shared.hub.names import APPLIED_FINALIZER, ATTEMPT_ANNOTATION, LEASE_ANNOTATION, TRACE_ANNOTATION
from shared.kube.times import rfc3339
from shared.model.refs import Head, PlacementRef
from shared.model.report import ObjectHealth
from shared.pipeline.messages import Assigned, Observed

REF = PlacementRef(workspace="root:team", namespace="shop", name="web")
HERE, THERE = "root:platform/east", "root:platform/west"
NOW = 1_800_000_000.0


def message(attempt: int = 5, **more: Any) -> Assigned:
    head = Head(uid="u1", generation=1, attempt=attempt)
    return Assigned(placement=REF, target=HERE, head=head, **more)


def placement(uid: str = "u1", *, deleted: bool = False, suspend: bool = False) -> Placement:
    meta = ObjectMeta(name="web", uid=uid, deletion_timestamp="2026-01-01T00:00:00Z" if deleted else None)
    return Placement(metadata=meta, spec=PlacementSpec(suspend=suspend))


def decision(attempt: int, *targets: str, replicas: int | None = None, digest: str = "") -> PlacementDecision:
    selected = tuple(
        ScoredTarget(target=TargetReference(workspace="root:platform", name=each.rpartition("/")[2]), replicas=replicas)
        for each in targets
    )
    return PlacementDecision(status=PlacementDecisionStatus(attempt=attempt, selected=selected, input_digest=digest))


def binding(attempt: int = 5, **status: Any) -> PlacementBinding:
    made = lifecycle.fresh(message(attempt), None)
    meta = msgspec.structs.replace(made.metadata, generation=1, resource_version="1", uid="b")
    return msgspec.structs.replace(made, metadata=meta, status=msgspec.structs.replace(made.status, **status))


def leaving(attempt: int) -> PlacementBinding:
    found = binding(attempt)
    meta = msgspec.structs.replace(found.metadata, deletion_timestamp="2026-01-01T00:00:00Z")
    return msgspec.structs.replace(found, metadata=meta)


@pytest.mark.parametrize(
    ("case", "step"),
    [
        ((message(), placement(), decision(5, HERE), None), "apply"),
        ((message(), placement(), decision(6, HERE), None), "apply"),
        ((message(), placement(), decision(5, HERE), binding(6)), "drop"),
        ((message(), placement(), decision(6, THERE), None), "remove"),
        ((message(), None, decision(5, HERE), None), "remove"),
        ((message(), placement(deleted=True), decision(5, HERE), None), "remove"),
        ((message(), placement("u2"), decision(5, HERE), None), "drop"),
        ((message(), placement(), decision(4, HERE), None), "drop"),
        ((message(), placement(), None, None), "drop"),
        ((message(remove=True), placement(), decision(5, THERE), binding(4)), "remove"),
        ((message(remove=True), placement(), decision(6, HERE), binding(4)), "drop"),
        ((message(remove=True), placement(), decision(5, HERE), binding(4)), "drop"),
        ((message(remove=True), placement(), decision(4, HERE), binding(4)), "drop"),
        ((message(remove=True), placement("u1"), None, binding(5)), "drop"),
        ((message(remove=True), placement(), decision(5, THERE), binding(6)), "drop"),
        ((message(remove=True), placement(), None, binding(5)), "drop"),
        ((message(remove=True), placement("u2"), None, binding(5)), "remove"),
        ((message(remove=True), None, None, binding(5)), "remove"),
        ((message(), placement(suspend=True), decision(5, HERE), None), "drop"),
        ((message(), placement(suspend=True), None, None), "drop"),
        ((message(remove=True), placement(suspend=True), decision(5, THERE), binding(4)), "drop"),
        ((message(remove=True), placement(suspend=True), decision(5, THERE), leaving(4)), "remove"),
        ((message(remove=True), placement("u2", suspend=True), decision(5, THERE), binding(4)), "remove"),
        ((message(), placement(deleted=True, suspend=True), decision(5, HERE), None), "remove"),
    ],
)
def test_what_is_done_follows_from_what_holds_now(case: Any, step: str) -> None:
    assert judge(*case) == step


TOLD = Order(3, (1,), "told")


@pytest.mark.parametrize(
    ("known", "order"),
    [
        (None, TOLD),
        (decision(6, THERE), TOLD),
        (decision(5, HERE, replicas=9), Order(9, None, "")),
        (decision(5, HERE, replicas=9, digest="d"), Order(9, (), "d")),
        (decision(6, HERE, replicas=9, digest="d"), Order(9, (), "d")),
    ],
)
def test_what_is_applied_is_as_the_decision_has_it_and_not_the_message(
    known: PlacementDecision | None, order: Order
) -> None:
    assert order_for(message(replicas=3, overrides=(1,), digest="told"), known) == order


def test_a_message_of_the_last_release_has_what_is_found_applied_with_the_overrides_that_match() -> None:
    assert order_for(message(replicas=3), None) == Order(3, None, "")


def test_a_binding_whose_workload_awaits_a_decision_says_so_once_and_keeps_its_phase() -> None:
    found = lifecycle.outdated(binding(), NOW)
    progressing = get_condition(found.status.conditions, "Progressing")
    assert progressing is not None
    assert (progressing.status, progressing.reason) == ("False", "AwaitsDecision")
    assert found.status.phase == binding().status.phase
    assert lifecycle.outdated(found, NOW + 1) is found


def test_a_lease_ends_with_time_and_when_the_status_says_so() -> None:
    begun = lease.taken(binding(), "one", NOW)
    assert lease.name_of(begun).endswith(" one")
    assert lease.remaining(binding(), NOW, 25) == 0
    assert lease.remaining(begun, NOW + 5, 25) == pytest.approx(20)
    assert lease.remaining(begun, NOW + 26, 25) == 0
    failed = lifecycle.failed(begun, passing("Timeout", "slow"), NOW + 1)
    done = lifecycle.succeeded(begun, (), (), NOW + 1)
    for ended in (failed, done):
        assert lease.remaining(ended, NOW + 1, 25) == 0
        assert lease.remaining(ended, NOW - 9, 25) == 0
        assert lease.remaining(lease.taken(ended, "two", NOW + 2), NOW + 2, 25) == pytest.approx(25)
    assert lease.remaining(lifecycle.observed(begun, (), NOW + 1), NOW + 1, 25) == pytest.approx(24)


@pytest.mark.parametrize("garbage", ["", "x", " ", "2026-01-01T00:00:00Z", "tomorrow one"])
def test_a_lease_that_nobody_can_read_keeps_nobody_waiting(garbage: str) -> None:
    annotations = {LEASE_ANNOTATION: garbage}
    metadata = msgspec.structs.replace(binding().metadata, annotations=annotations)
    assert lease.remaining(msgspec.structs.replace(binding(), metadata=metadata), NOW, 25) == 0


def test_a_lease_of_the_last_release_is_the_condition_progressing() -> None:
    at = rfc3339(NOW)
    conditions = set_condition((), "Progressing", "True", "Applying", "Applying.", at)
    begun = binding(conditions=conditions)
    assert lease.remaining(begun, NOW + 5, 25) == pytest.approx(20)
    assert lease.remaining(lifecycle.succeeded(begun, (), (), NOW + 1), NOW + 1, 25) == 0


def test_what_is_intended_is_settled_where_it_is_in_place() -> None:
    present = applied()
    again = lease.taken(present, "one", NOW)
    other = msgspec.structs.replace(present, spec=msgspec.structs.replace(present.spec, replicas=9))
    assert lifecycle.is_settled(present, again)
    assert not lifecycle.is_settled(present, other)
    assert not lifecycle.is_settled(None, present)
    assert not lifecycle.is_settled(binding(), binding())


def bound(health: str = "Unknown", uid: str = "o1") -> BoundObject:
    ref = ObjectReference(api_version="v1", kind="ConfigMap", name="x", namespace="shop")
    return msgspec.convert({"ref": msgspec.to_builtins(ref), "uid": uid, "health": health}, BoundObject)


def test_success_is_recorded_with_the_generation_that_it_is_for() -> None:
    before = binding(retries=3, objects=(bound("Healthy"),))
    after = lifecycle.succeeded(before, (bound(), bound(uid="o2")), ("ConfigMap y is not in the workspace.",), NOW)
    assert lifecycle.in_place(after)
    assert not lifecycle.in_place(before)
    assert after.status.retries == 0
    assert [each.health for each in after.status.objects] == ["Healthy", "Unknown"]
    assert lifecycle.bound(message(), after).message == "2 objects are applied. ConfigMap y is not in the workspace."
    newer = msgspec.structs.replace(after, metadata=msgspec.structs.replace(after.metadata, generation=2))
    assert not lifecycle.in_place(newer)


@pytest.mark.parametrize(
    ("problem", "phase"), [(lasting("Unfit", "why"), "Failed"), (passing("Unreachable", "why"), "Applying")]
)
def test_failure_is_recorded_with_its_reason(problem: Any, phase: str) -> None:
    after = lifecycle.failed(binding(), problem, NOW)
    applied = get_condition(after.status.conditions, "Applied")
    assert applied is not None
    assert (applied.status, applied.reason, applied.message) == ("False", problem.reason, "why")
    assert lifecycle.bound(message(), after).message == "why"
    assert (after.status.phase, after.status.retries) == (phase, 1)
    gone = msgspec.structs.replace(
        binding(), metadata=msgspec.structs.replace(binding().metadata, deletion_timestamp="2026-01-01T00:00:00Z")
    )
    assert lifecycle.failed(gone, problem, NOW).status.phase == "Removing"


def test_what_is_intended_keeps_what_others_wrote() -> None:
    present = binding()
    meta = msgspec.structs.replace(present.metadata, labels={"theirs": "1"}, finalizers=("theirs/finalizer",))
    found = lifecycle.intended(msgspec.structs.replace(present, metadata=meta), message(7), Wanted((), ()), 4)
    assert found.metadata.labels == {"theirs": "1", "placement.moorage.io/placement": "web"}
    assert found.metadata.finalizers == ("theirs/finalizer", APPLIED_FINALIZER)
    assert lifecycle.attempt_of(found) == 7
    assert found.spec.replicas == 4


def test_the_same_intention_again_is_the_same_object() -> None:
    present = binding()
    assert lifecycle.intended(present, message(5), Wanted((), ()), None) is present


def test_what_is_reserved_goes_by_the_attempt_and_stays_where_a_message_does_not_say() -> None:
    def reserved(found: PlacementBinding) -> Any:
        return found.spec.reserved, found.spec.shrinks_to

    made = lifecycle.fresh(message(5, reserved={"cpu": 3.0}), None)
    assert reserved(made) == ({"cpu": 3.0}, None)
    newer = lifecycle.intended(made, message(6, reserved={"cpu": 3.0}, shrinks_to={"cpu": 1.0}), Wanted((), ()), None)
    assert reserved(newer) == ({"cpu": 3.0}, {"cpu": 1.0})
    assert lifecycle.intended(newer, message(6, reserved={"cpu": 1.0}), Wanted((), ()), None) is newer
    assert reserved(lifecycle.intended(newer, message(7), Wanted((), ()), None)) == ({"cpu": 3.0}, {"cpu": 1.0})


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5"])
def test_an_attempt_that_is_no_number_is_older_than_any(text: str) -> None:
    meta = ObjectMeta(annotations={ATTEMPT_ANNOTATION: text})
    assert lifecycle.attempt_of(msgspec.structs.replace(binding(), metadata=meta)) == 0


# --- what status sees ------------------------------------------------------------------------------------------------

CONFIG = "v1 ConfigMap shop/x"


def applied(*objects: BoundObject) -> PlacementBinding:
    return lifecycle.succeeded(binding(), objects or (bound(),), (), NOW)


def observed(*objects: ObjectHealth, missing: tuple[str, ...] = (), attempt: int = 5, uid: str = "u1") -> Observed:
    head = Head(uid=uid, generation=1, attempt=attempt)
    return Observed(placement=REF, head=head, target=HERE, objects=objects, missing=missing, revision=1)


def seen(health: Any, message: str = "", owned: str = "") -> ObjectHealth:
    return ObjectHealth(ref=CONFIG, health=health, message=message, owned_fields=owned)


@pytest.mark.parametrize(
    ("health", "phase", "available"),
    [
        ("Healthy", "Ready", "True"),
        ("Degraded", "Degraded", "False"),
        ("Unhealthy", "Degraded", "False"),
        ("Progressing", "Applied", "False"),
        ("Unknown", "Applied", "Unknown"),
    ],
)
def test_the_worst_object_makes_the_phase(health: str, phase: str, available: str) -> None:
    other = ObjectReference(api_version="v1", kind="Secret", name="y", namespace="shop")
    before = applied(bound(), BoundObject(ref=other, health="Healthy"))
    after = lifecycle.observed(before, [seen(health, "why.")], NOW + 5)
    condition = get_condition(after.status.conditions, "Available")
    assert condition is not None
    assert (after.status.phase, condition.status) == (phase, available)
    assert condition.message == ("All objects are healthy." if phase == "Ready" else "ConfigMap x: why.")
    assert [each.health for each in after.status.objects] == [health, "Healthy"]
    assert lifecycle.in_place(after)
    assert lease.remaining(after, NOW + 5, 25) == 0
    assert get_condition(after.status.conditions, "Progressing") == get_condition(
        before.status.conditions, "Progressing"
    )
    assert lifecycle.observed(after, [seen(health, "why.")], NOW + 9) is after


def test_long_words_are_cut_to_what_the_schema_takes() -> None:
    after = lifecycle.observed(applied(), [seen("Unhealthy", "x" * 5000)], NOW)
    condition = get_condition(after.status.conditions, "Available")
    assert condition is not None
    assert (len(after.status.objects[0].message), len(condition.message)) == (2048, 2048)


def test_health_of_the_same_object_outlives_applying_it_again() -> None:
    healthy = lifecycle.observed(applied(), [seen("Healthy")], NOW)
    newly = msgspec.structs.replace(bound(), owned_fields="f2")
    again = lifecycle.succeeded(lease.taken(healthy, "one", NOW + 1), (newly,), (), NOW + 2)
    assert (again.status.phase, again.status.objects[0].health) == ("Ready", "Healthy")
    assert again.status.objects[0].owned_fields == "f2"
    assert lifecycle.succeeded(again, (bound(uid="o2"),), (), NOW + 3).status.phase == "Applied"


@pytest.mark.parametrize(
    ("owned", "message", "drifts"),
    [
        ("f1", observed(seen("Healthy", owned="f1")), False),
        ("f1", observed(seen("Healthy", owned="f2")), True),
        ("f1", observed(seen("Unknown")), False),
        ("f1", observed(), False),
        ("", observed(seen("Healthy", owned="f2")), False),
        ("f1", observed(seen("Unhealthy"), missing=(CONFIG,)), True),
        ("", observed(missing=(CONFIG,)), True),
        ("f1", observed(missing=("v1 Secret shop/x",)), False),
    ],
)
def test_drift_is_what_is_gone_or_what_somebody_took_from_us(owned: str, message: Observed, drifts: bool) -> None:
    mine = msgspec.structs.replace(bound(), owned_fields=owned)
    expected = {("", "ConfigMap", "shop", "x")} if drifts else set()
    assert lifecycle.drifted(applied(mine), message) == expected


def deleted(present: PlacementBinding) -> PlacementBinding:
    meta = msgspec.structs.replace(present.metadata, deletion_timestamp="2026-01-01T00:00:00Z")
    return msgspec.structs.replace(present, metadata=meta)


@pytest.mark.parametrize(
    ("present", "message", "concerned"),
    [
        (applied(), observed(), True),
        (lifecycle.failed(applied(), lasting("FieldConflict", "why"), NOW), observed(), True),
        (lease.taken(applied(), "one", NOW), observed(), True),
        (binding(), observed(), False),
        (lifecycle.failed(binding(), lasting("Unfit", "why"), NOW), observed(), False),
        (applied(), observed(attempt=4), False),
        (applied(), observed(attempt=6), False),
        (applied(), observed(uid="u2"), False),
        (deleted(applied()), observed(), False),
    ],
)
def test_an_observation_concerns_what_was_applied_for_the_same_round(
    present: PlacementBinding, message: Observed, concerned: bool
) -> None:
    assert lifecycle.concerns(present, message) == concerned


def test_corrections_keep_their_distance() -> None:
    def rest(present: PlacementBinding, after: float) -> float:
        return lifecycle.rest(present, NOW + after, drift=10, refused=60)

    assert rest(applied(), 4) == pytest.approx(6)
    assert rest(applied(), 11) == 0
    assert rest(lifecycle.observed(applied(), [seen("Healthy")], NOW + 9), 11) == 0
    refused = lifecycle.failed(lease.taken(applied(), "one", NOW), lasting("FieldConflict", "why"), NOW)
    assert rest(refused, 11) == pytest.approx(49)
    passed = lifecycle.failed(lease.taken(applied(), "one", NOW), passing("Unreachable", "why"), NOW)
    assert rest(passed, 4) == pytest.approx(6)
    assert rest(binding(), 0) == 0


def test_a_binding_has_the_trace_in_which_it_was_first_written_for_an_attempt():
    first = lifecycle.intended(lifecycle.fresh(message(5), 1, "a" * 32), message(5), Wanted((), ()), 1, "a" * 32)
    assert first.metadata.annotations[TRACE_ANNOTATION] == "a" * 32
    again = lifecycle.intended(first, message(5), Wanted((), ()), 1, "b" * 32)
    assert again is first, "what comes again is no reason to write"
    newer = lifecycle.intended(first, message(6), Wanted((), ()), 1, "b" * 32)
    assert newer.metadata.annotations[TRACE_ANNOTATION] == "b" * 32
    assert TRACE_ANNOTATION not in lifecycle.fresh(message(5), 1).metadata.annotations
