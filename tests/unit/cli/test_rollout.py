"""`moorage rollout`: what is shown of one, and what is to be done."""

from typing import Any

import msgspec

from services.cli.rollout.picture import RolloutPicture, picture, text
from shared.api import (
    AwaitedRevision,
    ManifestReference,
    ObjectMeta,
    Placement,
    PlacementBinding,
    PlacementBindingSpec,
    PlacementBindingStatus,
    PlacementDecision,
    PlacementDecisionStatus,
    PlacementReference,
    PlacementSpec,
    Rollout,
    RolloutStep,
    ScoredTarget,
    TargetReference,
    set_condition,
)
from shared.hub.names import APPROVED_ANNOTATION, ATTEMPT_ANNOTATION, PAUSED_ANNOTATION
from shared.kube.times import rfc3339

NAMES = ("east", "west", "north")
STEPS = Rollout(steps=(RolloutStep(targets=1), RolloutStep(targets="100%", approve=True)))


def binding(name: str, revision: str, phase: str = "Ready", *, awaits: str = "", said: str = "") -> PlacementBinding:
    conditions = set_condition((), "Applied", "True", "Applied", "", rfc3339(1.0), 1)
    if said:
        conditions = set_condition(conditions, "Available", "False", "Degraded", said, rfc3339(1.0), 1)
    return PlacementBinding(
        metadata=ObjectMeta(name=name, generation=1, annotations={ATTEMPT_ANNOTATION: "1" if awaits else "2"}),
        spec=PlacementBindingSpec(
            placement_ref=PlacementReference(name="web", namespace="shop", uid="u"),
            target=TargetReference(workspace="root", name=name),
            manifests=(ManifestReference(api_version="v1", kind="ConfigMap", name="web", hash="a"),),
            revision=revision,
        ),
        status=PlacementBindingStatus(
            phase=phase,  # type: ignore[arg-type]
            observed_generation=1,
            conditions=conditions,
            awaits=AwaitedRevision(revision=awaits, attempt=2) if awaits else None,
        ),
    )


def seen(*bindings: PlacementBinding, **annotations: str) -> RolloutPicture:
    placement = Placement(metadata=ObjectMeta(name="web", annotations=annotations), spec=PlacementSpec())
    selected = tuple(ScoredTarget(target=TargetReference(workspace="root", name=name)) for name in NAMES)
    decision = PlacementDecision(status=PlacementDecisionStatus(attempt=2, selected=selected))
    return picture("shop/web", placement, STEPS, decision, bindings)


WAITING = (binding("east", "new"), binding("west", "old", awaits="new"), binding("north", "old", awaits="new"))


def test_a_step_that_waits_says_how_to_approve_it() -> None:
    found = seen(*WAITING)
    assert (found.state, found.revision, found.step, found.steps) == ("AwaitsApproval", "new", 2, 3)
    assert (found.total, found.updated, found.healthy) == (3, 1, 1)
    assert found.message == "Step 2 of 3 waits for approval: moorage rollout approve shop/web"
    assert [each.has for each in found.targets] == ["Yes", "No", "No"]


def test_what_is_approved_names_who_is_next() -> None:
    found = seen(*WAITING, **{APPROVED_ANNOTATION: "new/2"})
    assert (found.state, [each.has for each in found.targets]) == ("Progressing", ["Yes", "NextInTurn", "No"])
    assert found.message == "Step 2 of 3: 1 of 3 targets have it, 1 of them healthy."


def test_a_failure_says_why_in_its_target() -> None:
    failing = binding("east", "new", "Degraded", said="Deployment web: 0 of 2 replicas are available.")
    found = seen(failing, *WAITING[1:])
    assert found.state == "Failed"
    assert found.targets[0].message == "Deployment web: 0 of 2 replicas are available."
    assert found.message.startswith("1 of 3 targets have it, 0 of them healthy. It stops until")


def test_a_pause_says_why_and_how_to_go_on() -> None:
    found = seen(*WAITING, **{APPROVED_ANNOTATION: "new/2", PAUSED_ANNOTATION: "it is Friday"})
    assert (found.state, found.paused) == ("Paused", "it is Friday")
    assert found.message.endswith("It is paused (it is Friday): moorage rollout resume shop/web")


def test_what_is_everywhere_is_complete() -> None:
    found = seen(*(binding(name, "new") for name in NAMES))
    assert (found.state, found.message) == ("Complete", "All 3 targets have it and are healthy.")


def test_people_get_a_line_for_each_target_without_what_a_terminal_would_follow() -> None:
    lines = text(seen(binding("east", "new", "Degraded", said="\x1b[31mred"), *WAITING[1:])).splitlines()
    assert lines[0].startswith("shop/web: revision new is Failed. ")
    assert lines[2].split() == ["TARGET", "HAS", "IT", "HEALTH", "MESSAGE"]
    assert [line.split()[0] for line in lines[3:]] == list(NAMES)
    assert "\x1b" not in "".join(lines)


def test_scripts_get_all_of_it() -> None:
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(seen(*WAITING)))
    assert found["targets"][1] == {
        "name": "west",
        "workspace": "root",
        "revision": "old",
        "has": "No",
        "health": "Healthy",
        "message": "",
    }
