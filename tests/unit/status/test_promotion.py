"""The status of the workspace's object, summed over targets by rules per kind."""

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.status.parts import SHOWN, part_of, shown
from services.status.promotion import TargetPart, observed_generation, promoted
from services.status.rules import health
from shared.hub.kinds import BUILT_IN, KINDS, HealthRule, Kind, StateSign
from shared.model.report import ObjectHealth

EARLY, LATE = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def condition(type: str, status: str = "True", reason: str = "", message: str = "", since: str = EARLY) -> Any:
    return {"type": type, "status": status, "reason": reason, "message": message, "lastTransitionTime": since}


def item(kind: str, status: dict[str, Any], *, generation: int = 1, replicas: int = 2) -> dict[str, Any]:
    group = "batch/v1" if kind in ("Job", "CronJob") else "v1" if kind == "Pod" else "apps/v1"
    metadata = {"name": "web", "namespace": "shop", "generation": generation}
    spec = {"replicas": replicas, "restartPolicy": "Never"}
    return {"apiVersion": group, "kind": kind, "metadata": metadata, "spec": spec, "status": status}


def part(kind: str, status: dict[str, Any], *, source: int = 1, applied: int = 1, silent: bool = False) -> TargetPart:
    """An object in a target, of the workspace's generation `source`, applied there as its generation `applied`."""
    obj = item(kind, status)
    found = health(obj)
    return TargetPart(
        ObjectHealth(
            ref=f"{obj['apiVersion']} {kind} shop/web",
            health=found.health,
            ended=found.ended,
            generation=applied,
            source="u1",
            source_generation=source,
            status=part_of(obj, BUILT_IN.of(obj)),
        ),
        silent,
    )


def deployment(ready: int = 2, updated: int = 2, *, observed: int = 1, done: bool = True, **more: Any) -> TargetPart:
    reason = "NewReplicaSetAvailable" if done else "ReplicaSetUpdated"
    available = condition("Available", "True" if ready == 2 else "False", "Minimum", f"{ready} are ready")
    status = {
        "replicas": 2, "updatedReplicas": updated, "readyReplicas": ready, "availableReplicas": ready,
        "observedGeneration": observed, "conditions": [available, condition("Progressing", reason=reason)],
    }  # fmt: skip
    return part("Deployment", status, **more)


def summed(rule: HealthRule, *parts: TargetPart) -> dict[str, Any]:
    return promoted(SHOWN[rule], parts)


def conditions(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each.get("message", "")) for each in status.get("conditions", [])}


def test_replicas_are_added_up_and_a_condition_is_true_where_every_target_has_it() -> None:
    status = summed("deployment", deployment(), deployment(1, source=1))
    assert {name: status[name] for name in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")} == {
        "replicas": 4,
        "updatedReplicas": 4,
        "readyReplicas": 3,
        "availableReplicas": 3,
    }
    assert conditions(status)["Available"] == ("False", "In 1 of 2 targets: 1 are ready")
    assert conditions(status)["Progressing"][0] == "True"


def test_of_a_target_that_is_silent_nothing_counts_as_ready() -> None:
    status = summed("deployment", deployment(), deployment(silent=True))
    assert (status["replicas"], status["readyReplicas"], status["availableReplicas"]) == (4, 2, 2)
    assert conditions(status)["Available"] == ("Unknown", "Nothing is heard of 1 of 2 targets.")


def test_nothing_is_said_before_any_target_has_said_something() -> None:
    assert summed("deployment", TargetPart(None), TargetPart(None)) == {}


@pytest.mark.parametrize(
    ("parts", "observed"),
    [
        ([deployment(source=3), deployment(source=3)], 3),
        ([deployment(source=3), deployment(source=2)], 2),  # the other was not applied yet
        ([deployment(source=3), TargetPart(None)], 0),  # it is not there at all yet
        ([deployment(source=3), deployment(source=3, applied=2)], 2),  # what is seen there is what was there before
        ([deployment(source=3), deployment(source=3, observed=0)], 2),  # its controller has not looked yet
        ([deployment(source=3), deployment(0, 0, source=3, done=False)], 2),  # none of its own are there yet
        ([deployment(1, 1, source=3, done=False)], 3),  # alone, its numbers say how far it is
    ],
)
def test_a_generation_is_observed_once_every_target_has_taken_it_up(parts: list[TargetPart], observed: int) -> None:
    assert observed_generation(parts) == observed


def test_a_rollout_that_is_stuck_in_one_target_is_observed_and_says_why() -> None:
    status = {
        "observedGeneration": 1,
        "conditions": [condition("Progressing", "False", "ProgressDeadlineExceeded", "timed out")],
    }
    found = summed("deployment", deployment(), part("Deployment", status))
    assert found["observedGeneration"] == 1
    stuck = next(each for each in found["conditions"] if each["type"] == "Progressing")
    assert (stuck["status"], stuck["reason"]) == ("False", "ProgressDeadlineExceeded")  # as kubectl looks for it


def test_a_job_is_complete_once_it_is_in_every_target_and_failed_as_soon_as_it_is_in_one() -> None:
    done = {
        "startTime": EARLY,
        "completionTime": LATE,
        "succeeded": 1,
        "conditions": [condition("Complete", since=LATE)],
    }
    runs = {"startTime": LATE, "active": 2}
    failed = {"startTime": LATE, "failed": 1, "conditions": [condition("Failed", message="too often")]}
    half = summed("job", part("Job", done), part("Job", runs))
    assert (half["succeeded"], half["active"], half["startTime"]) == (1, 2, EARLY)
    assert "conditions" not in half
    assert "completionTime" not in half
    whole = summed("job", part("Job", done), part("Job", done))
    assert (whole["completionTime"], conditions(whole)["Complete"][0]) == (LATE, "True")
    assert conditions(summed("job", part("Job", done), part("Job", failed)))["Failed"] == (
        "True",
        "In 1 of 2 targets: too often",
    )


def test_a_stateful_set_has_two_revisions_until_it_is_rolled_out_everywhere() -> None:
    def revisions(current: str, update: str) -> TargetPart:
        return part("StatefulSet", {"observedGeneration": 1, "currentRevision": current, "updateRevision": update})

    status = summed("stateful_set", revisions("a", "a"), revisions("a", "b"))
    assert (status["currentRevision"], status["updateRevision"]) == ("a", "b")
    status = summed("stateful_set", revisions("b", "b"), revisions("c", "c"))
    assert status["currentRevision"] == status["updateRevision"] == "b"


@pytest.mark.parametrize(
    ("phases", "phase"),
    [
        (["Running", "Running"], "Running"),
        (["Running", "Pending"], "Pending"),
        (["Failed", "Pending"], "Failed"),
        (["Succeeded", "Running"], "Running"),
    ],
)
def test_a_pod_is_where_the_worst_of_them_is(phases: list[str], phase: str) -> None:
    ready = [condition("Ready")]
    parts = [part("Pod", {"phase": each, "conditions": ready if each == "Running" else []}) for each in phases]
    assert summed("pod", *parts)["phase"] == phase


def test_a_cron_job_shows_its_latest_run_in_any_target() -> None:
    ran = part("CronJob", {"lastScheduleTime": LATE, "lastSuccessfulTime": EARLY})
    parts = (part("CronJob", {"lastScheduleTime": EARLY}), ran, part("CronJob", {}))
    assert summed("cron_job", *parts) == {"lastScheduleTime": LATE, "lastSuccessfulTime": EARLY}


def test_a_declared_kind_is_shown_by_its_paths() -> None:
    kind = Kind(
        declared=True,
        replicas=("spec", "replicas"),
        ready=("status", "counts", "ready"),
        states=(
            StateSign(means="Healthy", condition="Ready"),
            StateSign(means="Degraded", condition="Broken"),
            StateSign(means="Unhealthy", path=("status", "phase"), values=("Failed",)),
        ),
    )
    fields = shown(kind)
    assert fields is not None

    def of(ready: int, phase: str, broken: str, well: str) -> TargetPart:
        status = {
            "counts": {"ready": ready},
            "phase": phase,
            "observedGeneration": 1,
            "conditions": [condition("Ready", well), condition("Broken", broken)],
        }
        obj = {**item("CloneSet", status), "apiVersion": "apps.kruise.io/v1alpha1"}
        state: Any = "Unhealthy" if phase == "Failed" else "Healthy"
        found = ObjectHealth(ref="x", health=state, generation=1, source_generation=4, status=part_of(obj, kind))
        return TargetPart(found)

    status = promoted(fields, [of(2, "Running", "False", "True"), of(1, "Failed", "True", "True")])
    assert status["counts"] == {"ready": 3}
    assert status["phase"] == "Failed"
    assert {each["type"]: each["status"] for each in status["conditions"]} == {"Ready": "True", "Broken": "True"}
    assert status["observedGeneration"] == 4
    assert shown(Kind(declared=True)) is None


def test_every_rule_of_a_workload_says_what_is_shown() -> None:
    workloads = {kind.health for kind in KINDS.values() if kind.has_pods}
    assert workloads == set(SHOWN)
    assert set(SHOWN) <= set(get_args(HealthRule))


def test_what_a_target_writes_is_kept_within_bounds_and_of_its_type() -> None:
    status = {
        "replicas": "many",
        "readyReplicas": True,
        "observedGeneration": "1",
        "conditions": ["x", {"type": 3}, condition("Available", "True", "R" * 999, "\x1b[31m" + "m" * 9999, "now")],
    }
    obj = item("Deployment", status)
    found = part_of(obj, BUILT_IN.of(obj))
    assert found is not None
    assert (found.numbers, found.observed) == ({}, None)
    (only,) = found.conditions
    assert (len(only.reason.encode()), only.since) == (256, "")
    assert "\x1b" not in only.message
    assert len(only.message.encode()) <= 1024


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5), st.booleans()), min_size=1, max_size=5))
def test_sums_do_not_depend_on_the_order_of_targets(targets: list[tuple[int, int, bool]]) -> None:
    parts = [deployment(ready, source=source, silent=silent) for ready, source, silent in targets]
    there, back = summed("deployment", *parts), summed("deployment", *reversed(parts))
    numbers = [name for name in there if name != "conditions"]
    assert {name: there[name] for name in numbers} == {name: back[name] for name in numbers}
    assert {name: state for name, (state, _) in conditions(there).items()} == {
        name: state for name, (state, _) in conditions(back).items()
    }
    assert there["observedGeneration"] <= min(source for _, source, _ in targets)
