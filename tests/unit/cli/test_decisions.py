"""What would be decided, as a table."""

from services.cli.support.decisions import table
from shared.api import PlacementDecisionStatus, ScoredTarget, TargetReference
from shared.api.decision import Rejection, ScorePart
from shared.model.answer import CapacityHold, DecisionAnswer
from shared.model.decision import Refusal
from shared.model.refs import PlacementRef

REF = PlacementRef(workspace="root:a", namespace="shop", name="web")


def scored(name: str, score: float, replicas: int | None = None, workspace: str = "root:p") -> ScoredTarget:
    part = ScorePart(raw=score, weight=100.0, weighted=score)
    target = TargetReference(workspace=workspace, name=name)
    return ScoredTarget(target=target, score=score, replicas=replicas, breakdown={"Resource": part})


def test_chosen_targets_come_first_then_alternates_then_why_others_cannot() -> None:
    decision = PlacementDecisionStatus(
        strategy="BestFit",
        selected=(scored("one", 90.5, 2),),
        alternates=(scored("two", 80.0),),
        rejected={
            "InsufficientCPU": Rejection(count=1, samples=("root:p/three",)),
            "NotOffered": Rejection(count=5),
        },
    )
    assert table(DecisionAnswer(placement=REF, decision=decision)).splitlines() == [
        "shop/web  BestFit",
        "            TARGET      REPLICAS  SCORE  RESOURCE",
        "  selected  root:p/one  2         90.50  90.5×100",
        "  next      root:p/two  -         80.00  80.0×100",
        "  5 NotOffered",
        "  1 InsufficientCPU: root:p/three",
    ]


def test_what_is_held_is_told_with_how_to_take_it_over() -> None:
    hold = CapacityHold(id="h1", until="2026-01-01T00:00:30Z", targets=1)
    decision = PlacementDecisionStatus(selected=(scored("one", 1.0),))
    lines = table(DecisionAnswer(placement=REF, decision=decision, hold=hold)).splitlines()
    assert lines[-1] == "  held until 2026-01-01T00:00:30Z: moorage place --hold h1"


def test_a_refusal_says_why_and_a_hub_without_workspaces_has_bare_names() -> None:
    refusal = Refusal(code="NoTarget", message="0/1 targets")
    decision = PlacementDecisionStatus(alternates=(scored("one", 1.0, workspace=""),))
    lines = table(DecisionAnswer(placement=REF, decision=decision, refusal=refusal)).splitlines()
    assert lines[:2] == ["shop/web", "  refused: NoTarget: 0/1 targets"]
    assert lines[-1].split()[:2] == ["next", "one"]


def test_where_no_target_is_wanted_it_says_so() -> None:
    lines = table(DecisionAnswer(placement=REF, decision=PlacementDecisionStatus(rationale="no target is wanted")))
    assert lines.splitlines()[1:] == ["  no target is wanted"]
