"""Rollouts: whose turn it is."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from shared.api import (
    AwaitedRevision,
    ManifestReference,
    ObjectMeta,
    PlacementBinding,
    PlacementBindingSpec,
    PlacementBindingStatus,
    PlacementReference,
    Rollout,
    RolloutStep,
    TargetReference,
    set_condition,
    some_of,
)
from shared.hub.names import APPROVED_ANNOTATION, ATTEMPT_ANNOTATION
from shared.hub.rollout import (
    TargetProgress,
    approval,
    approved_steps,
    by_target,
    newest,
    progress,
    standings,
)
from shared.kube.times import rfc3339

NEW, OLD = "new", "old"
ONE_BY_ONE = Rollout()


def targets(*states: str) -> list[TargetProgress]:
    """Targets t0, t1, ...: `old`, or how they do with the new revision."""
    return [
        TargetProgress(f"t{number}", OLD, "Healthy") if state == OLD else TargetProgress(f"t{number}", NEW, state)  # type: ignore[arg-type]
        for number, state in enumerate(states)
    ]


def rollout(*steps: int | str, approve: tuple[int, ...] = (), most: int | str = 1) -> Rollout:
    made = tuple(RolloutStep(targets=each, approve=place in approve) for place, each in enumerate(steps, 1))
    return Rollout(steps=made, max_concurrent=most)


def test_targets_get_it_one_after_the_other_each_once_the_one_before_is_healthy() -> None:
    assert progress(ONE_BY_ONE, NEW, targets(OLD, OLD, OLD)).turn == ("t0",)
    assert progress(ONE_BY_ONE, NEW, targets("Progressing", OLD, OLD)).turn == ()
    assert progress(ONE_BY_ONE, NEW, targets("Healthy", OLD, OLD)).turn == ("t1",)
    assert progress(ONE_BY_ONE, NEW, targets("Healthy", "Healthy", "Healthy")).state == "Complete"


def test_the_last_one_that_becomes_healthy_completes_it() -> None:
    found = progress(ONE_BY_ONE, NEW, targets("Healthy", "Progressing"))
    assert (found.state, found.updated, found.healthy, found.behind) == ("Progressing", 2, 1, ())


def test_nothing_goes_on_while_one_fails() -> None:
    found = progress(rollout(most=3), NEW, targets("Failed", "Healthy", OLD, OLD))
    assert (found.state, found.failed, found.turn) == ("Failed", ("t0",), ())


def test_a_step_begins_when_all_targets_so_far_are_healthy() -> None:
    steps = rollout(1, "50%", most=10)
    first = progress(steps, NEW, targets(*[OLD] * 6))
    assert (first.step, first.steps, first.turn) == (1, 3, ("t0",))
    assert progress(steps, NEW, targets("Progressing", *[OLD] * 5)).turn == ()
    second = progress(steps, NEW, targets("Healthy", *[OLD] * 5))
    assert (second.step, second.turn) == (2, ("t1", "t2"))
    rest = progress(steps, NEW, targets(*["Healthy"] * 3, *[OLD] * 3))
    assert (rest.step, rest.turn) == (3, ("t3", "t4", "t5"))


def test_a_step_that_is_to_be_approved_waits_for_that() -> None:
    steps = rollout(1, "100%", approve=(2,), most=2)
    waits = progress(steps, NEW, targets("Healthy", OLD, OLD))
    assert (waits.state, waits.step, waits.turn) == ("AwaitsApproval", 2, ())
    approved = progress(steps, NEW, targets("Healthy", OLD, OLD), approved=2)
    assert (approved.state, approved.turn) == ("Progressing", ("t1", "t2"))


def test_the_first_step_can_wait_for_approval_too() -> None:
    found = progress(rollout(1, approve=(1,)), NEW, targets(OLD, OLD))
    assert (found.state, found.step, found.turn) == ("AwaitsApproval", 1, ())


def test_nothing_goes_on_while_it_is_paused() -> None:
    found = progress(ONE_BY_ONE, NEW, targets("Healthy", OLD), paused=True)
    assert (found.state, found.turn) == ("Paused", ())


def test_what_has_reached_all_targets_is_not_paused_any_more() -> None:
    assert progress(ONE_BY_ONE, NEW, targets("Healthy"), paused=True).state == "Complete"


def test_percentages_are_rounded_up_and_no_more_targets_are_meant_than_there_are() -> None:
    assert [some_of(each, 3) for each in ("1%", "34%", "100%", 2, 7)] == [1, 2, 3, 2, 3]


def test_an_approval_holds_for_the_revision_that_it_was_given_for() -> None:
    annotations = {APPROVED_ANNOTATION: approval(NEW, 2)}
    assert approved_steps(annotations, NEW) == 2
    assert approved_steps(annotations, "other") == 0
    assert approved_steps({APPROVED_ANNOTATION: f"{NEW}/many"}, NEW) == 0
    assert approved_steps({}, "") == 0


def binding(name: str, revision: str, phase: str = "Ready", *, attempt: int = 1, **more: Any) -> PlacementBinding:
    """One whose spec is of generation 2, applied in `applied` (2)."""
    applied = more.pop("applied", 2)
    conditions = set_condition((), "Applied", "True", "Applied", "", rfc3339(1.0), more.pop("said", applied))
    manifests = (ManifestReference(api_version="v1", kind="ConfigMap", name="web", hash="a"),)
    status = PlacementBindingStatus(phase=phase, observed_generation=applied, conditions=conditions, **more)  # type: ignore[arg-type]
    return PlacementBinding(
        metadata=ObjectMeta(name=f"web-{name}", generation=2, annotations={ATTEMPT_ANNOTATION: str(attempt)}),
        spec=PlacementBindingSpec(
            placement_ref=PlacementReference(name="web", namespace="shop", uid="u"),
            target=TargetReference(workspace="root", name=name),
            manifests=manifests,
            revision=revision,
        ),
        status=status,
    )


def seen(*bindings: PlacementBinding) -> list[str]:
    known = by_target("web", bindings)
    return [each.doing for each in standings(known, known, NEW)]


def test_a_target_does_as_its_binding_says_of_what_it_was_written_for() -> None:
    assert seen(binding("a", NEW)) == ["Healthy"]
    assert seen(binding("a", NEW, "Degraded")) == ["Failed"]
    assert seen(binding("a", NEW, "Applied")) == ["Progressing"]


def test_how_a_target_did_with_what_it_had_before_says_nothing() -> None:
    assert seen(binding("a", NEW, "Ready", applied=1)) == ["Progressing"]
    assert seen(binding("a", NEW, "Degraded", applied=1)) == ["Progressing"]


def test_what_could_not_be_applied_has_failed() -> None:
    assert seen(binding("a", NEW, "Failed", applied=1, said=2)) == ["Failed"]


def test_a_target_in_which_nothing_runs_is_getting_it() -> None:
    assert standings(["t"], {}, NEW) == [TargetProgress("t", NEW, "Progressing")]
    empty = binding("a", OLD)
    empty = msgspec.structs.replace(empty, spec=msgspec.structs.replace(empty.spec, manifests=()))
    assert standings(["root/a"], {"root/a": empty}, NEW)[0].revision == NEW


def test_the_newest_revision_is_that_of_the_newest_attempt_applied_or_waited_for() -> None:
    waiting = AwaitedRevision(revision=NEW, attempt=2)
    assert newest([binding("a", OLD, attempt=1), binding("b", OLD, attempt=1, awaits=waiting)]) == NEW
    assert newest([binding("a", OLD, attempt=3), binding("b", OLD, attempt=3, awaits=waiting)]) == OLD
    assert newest(iter([binding("a", OLD, attempt=1, awaits=waiting)])) == NEW
    assert newest([]) == ""


@st.composite
def rollouts(draw: st.DrawFn) -> Rollout:
    some = st.one_of(st.integers(1, 8), st.integers(1, 100).map(lambda each: f"{each}%"))
    steps = draw(st.lists(st.tuples(some, st.booleans()), max_size=4))
    return Rollout(
        steps=tuple(RolloutStep(targets=each, approve=approve) for each, approve in steps),
        max_concurrent=draw(some),
    )


@given(rollouts(), st.integers(1, 8), st.integers(0, 5), st.data())
def test_however_stale_what_is_read_no_more_change_at_once_than_may_and_all_get_it_in_the_end(
    plan: Rollout, many: int, approved: int, data: st.DataObject
) -> None:
    """Copies act on what they read some time ago, one target after the other, until nothing is left to do."""
    history = [targets(*[OLD] * many)]
    most = some_of(plan.max_concurrent, many)
    for _ in range(20 * many):
        now = history[-1]
        read = data.draw(st.sampled_from(history[-3:]), label="read")
        turns = progress(plan, NEW, read, approved=approved).turn
        changing = [each.target for each in now if each.revision == OLD and each.target in turns]
        becoming = [each.target for each in now if each.doing == "Progressing"]
        if not changing and not becoming and not progress(plan, NEW, now, approved=approved).turn:
            break
        moves = changing + becoming
        if not moves:
            history.append(now)
            continue
        move = data.draw(st.sampled_from(moves), label="move")
        doing = "Healthy" if move in becoming else "Progressing"
        after = [TargetProgress(move, NEW, doing) if each.target == move else each for each in now]  # type: ignore[arg-type]
        assert sum(each.doing == "Progressing" for each in after) <= most
        history.append(after)
    found = progress(plan, NEW, history[-1], approved=approved)
    assert found.state in ("Complete", "AwaitsApproval")
    if found.state == "AwaitsApproval":
        assert plan.steps[found.step - 1].approve
        assert found.step > approved


@given(rollouts(), st.lists(st.sampled_from([OLD, "Healthy", "Progressing", "Failed"]), min_size=1, max_size=8))
def test_whoever_has_it_stays_and_those_behind_go_in_their_order(plan: Rollout, states: list[str]) -> None:
    found = progress(plan, NEW, targets(*states))
    assert found.behind[: len(found.turn)] == found.turn
    unready = sum(state in ("Progressing", "Failed") for state in states)
    assert not found.turn or len(found.turn) + unready <= some_of(plan.max_concurrent, len(states))
    assert not (found.turn and "Failed" in states)
