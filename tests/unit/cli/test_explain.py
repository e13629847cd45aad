"""`moorage explain`: what is on record, in words; in files, what would be decided."""

import io
import json
from typing import Any

import msgspec
import pytest
import yaml
from rich.console import Console

from services.cli.explaining import pages, remedies
from services.cli.explaining.explanation import Explanation, explain, only
from services.cli.main import main
from shared.api import (
    ClusterRequestStatus,
    Condition,
    ObjectMeta,
    Placement,
    PlacementDecisionStatus,
    PlacementSpec,
    PlacementStatus,
    Rejection,
    RejectionMessage,
    ScoredTarget,
    ScorePart,
    TargetReference,
    decode_clusterrequest,
)
from shared.hub.names import REQUESTER_ANNOTATION
from shared.model.reasons import RefusalCode, RejectionCode

EXAMPLES = ("-f", "examples/clusters.yaml", "-f", "examples/placements")


def run(capsys: Any, *argv: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(("explain", *argv))
    out, err = capsys.readouterr()
    return int(str(ended.value.code)), out, err


def scored(name: str, score: float, **more: Any) -> ScoredTarget:
    part = ScorePart(raw=score, weight=100.0, weighted=score)
    target = TargetReference(workspace="root:p", name=name)
    return ScoredTarget(target=target, score=score, breakdown={"Resource": part}, **more)


def placement(generation: int = 1, conditions: tuple[Condition, ...] = (), **spec: Any) -> Placement:
    requester = {REQUESTER_ANNOTATION: '{"username": "alice"}'}
    metadata = ObjectMeta(name="web", namespace="shop", uid="u", generation=generation, annotations=requester)
    return Placement(metadata=metadata, spec=PlacementSpec(**spec), status=PlacementStatus(conditions=conditions))


def shown(found: Explanation, *, width: int = 80, wide: bool = False, **more: Any) -> str:
    out = Console(file=io.StringIO(), width=width, highlight=False, emoji=False, markup=False, **more)
    pages.show(out, found, wide=wide)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def test_there_is_something_to_do_against_every_reason_and_every_refusal() -> None:
    assert set(remedies.OF_REJECTIONS) == set(RejectionCode)
    assert set(remedies.OF_REFUSALS) == set(RefusalCode)


def test_a_reason_of_another_version_is_shown_without_advice() -> None:
    decision = PlacementDecisionStatus(refusal="New", rationale="it is so", rejected={"Newer": Rejection(count=3)})
    found = explain("", placement(), decision)
    assert (found.helps, found.rejected[0].helps) == ("", "")
    assert "3 of them" in shown(found)


def test_a_plugins_reason_names_who_is_to_be_asked() -> None:
    assert remedies.against("Plugin:carbon") == "ask whoever keeps the plugin carbon"


def test_the_demos_backend_says_which_rule_passed_the_better_score_over(capsys: Any) -> None:
    code, out, _ = run(capsys, "backend", *EXAMPLES, "-o", "json")
    found = json.loads(out)
    (better,) = (each for each in found["alternates"] if each["passedOver"])
    lowest = min(each["score"] for each in found["selected"])
    assert (code, found["outcome"]) == (0, "Placed")
    assert better["target"] == "root:platform/eu-west-1"
    assert better["score"] > lowest
    assert better["passedOver"].startswith(
        f"passed over for root:platform/eu-west-2 ({lowest:.1f}): targets are spread"
    )


def test_better_scores_stand_apart_from_those_that_come_next() -> None:
    passed = scored("best", 90.0, passed_over="passed over for root:p/low (50.0): the spread over zone must hold")
    decision = PlacementDecisionStatus(selected=(scored("low", 50.0),), alternates=(passed, scored("next", 40.0)))
    text = shown(explain("root:a", placement(), decision))
    assert text.index("Chosen") < text.index("Better scores that were passed over") < text.index("Next")
    assert "the spread over zone must hold" in " ".join(text.split())


def test_what_would_help_stands_with_each_reason_and_the_numbers_that_it_is_about() -> None:
    short = RejectionMessage(message="insufficient cpu", count=4, detail="needs 2, the most is 1.3")
    decision = PlacementDecisionStatus(
        refusal="NoFeasibleTarget",
        rationale="0/5 targets: 4 insufficient cpu, 1 not authorized",
        rejected={
            "InsufficientResources": Rejection(count=4, samples=("root:p/a", "root:p/b"), messages=(short,)),
            "NotAuthorized": Rejection(count=1),
        },
    )
    text = shown(explain("root:a", placement(), decision), width=120)
    assert "web  Refused" in text
    assert "a, b and 2 more" in text
    assert "needs 2, the most is 1.3" in text
    assert "→ ask for less, free room there" in text
    assert "kind: ClusterRoleBinding" in text
    assert "name: alice" in text


def test_a_taint_comes_with_the_toleration_to_write() -> None:
    said = tuple(RejectionMessage(message=f"untolerated taint {each}", count=1) for each in ("gpu=a100", "spot"))
    (found,) = remedies.manifest("UntoleratedTaint", said, "")
    assert found["spec"]["targets"]["tolerations"] == [
        {"key": "gpu", "operator": "Equal", "value": "a100"},
        {"key": "spot", "operator": "Exists"},
    ]


def test_what_is_asked_for_is_told_with_what_is_said_of_it() -> None:
    since = "2026-01-01T00:00:00Z"
    decision = PlacementDecisionStatus(refusal="TooFewTargets", rationale="2 targets are wanted", requested_since=since)
    said = {"type": "Provisioned", "status": "False", "reason": "NoQuota", "message": "ask Paula"}
    request = decode_clusterrequest(
        {
            "spec": {
                "placementRef": {"name": "web"},
                "since": since,
                "reason": "TooFewTargets",
                "missing": {"targets": 2, "replicas": 3, "resources": {"cpu": "1500m", "memory": "2147483648"}},
            },
            "status": {"conditions": [{**said, "lastTransitionTime": since}]},
        }
    )
    text = shown(explain("root:a", placement(), decision, request), width=120)
    assert f"2 targets, each with cpu 1.5, memory 2Gi free for 3 replicas, since {since}" in text
    assert "Provisioned=False NoQuota: ask Paula" in text
    untold = msgspec.structs.replace(request, status=ClusterRequestStatus())
    assert "nobody has said anything of it yet" in shown(explain("", placement(), decision, untold), width=120)
    assert f"since {since}" in shown(explain("", placement(), decision), width=120)
    assert explain("", placement(), PlacementDecisionStatus(), request).request is None, "it is being withdrawn"


def test_what_was_decided_of_an_older_version_is_called_so() -> None:
    decision = PlacementDecisionStatus(observed_generation=1, decided_at="2026-01-01T00:00:00Z")
    assert explain("", placement(generation=2), decision).outdated
    assert not explain("", placement(generation=1), decision).outdated


def test_conditions_that_are_not_as_they_should_be_are_told_and_no_others() -> None:
    def condition(type: str, status: Any) -> Condition:
        return Condition(
            type=type, status=status, reason="Why", message="so", last_transition_time="2026-01-01T00:00:00Z"
        )

    given = (condition("Ready", "False"), condition("Applied", "True"), condition("Held", "True"))
    found = explain("", placement(conditions=(*given, condition("Parked", "False"))), PlacementDecisionStatus())
    assert found.conditions == ("Ready=False Why: so", "Held=True Why: so")


def test_where_there_are_workspaces_the_right_to_enter_comes_with_the_right_to_use() -> None:
    def rules(in_tree: bool) -> list[list[str]]:
        role, _ = remedies.manifest("NotAuthorized", (), "alice", in_tree=in_tree)
        return [rule["verbs"] for rule in role["rules"]]

    assert (rules(True), rules(False)) == ([["use"], ["access"]], [["use"]])


def test_without_a_decision_it_is_undecided_and_says_what_is_known() -> None:
    assert explain("", placement(), None).outcome == "Undecided"
    assert "suspend" in explain("", placement(suspend=True), None).summary


def test_of_one_target_all_reasons_stay_that_may_be_its_own() -> None:
    decision = PlacementDecisionStatus(
        selected=(scored("a", 90.0),),
        rejected={
            "NotReady": Rejection(count=1, samples=("root:p/b",)),
            "NotAuthorized": Rejection(count=2),
        },
    )
    found = explain("", placement(), decision)
    assert [each.target for each in only(found, "a").selected] == ["root:p/a"]
    assert [each.reason for each in only(found, "root:p/b").rejected] == ["NotReady"]
    assert [each.reason for each in only(found, "c").rejected] == ["NotAuthorized"]  # the two are not named


@pytest.mark.parametrize("width", [60, 80, 120])
def test_tables_fit_the_terminal(width: int) -> None:
    long = RejectionMessage(message="very " * 60, count=1, detail="numbers " * 30)
    decision = PlacementDecisionStatus(
        rationale="because " * 40,
        selected=(scored("a-name-that-is-rather-long-for-a-cluster", 90.0, reason="so " * 50),),
        rejected={"InsufficientResources": Rejection(count=1, samples=("root:p/b",), messages=(long,))},
    )
    assert max(map(len, shown(explain("", placement(), decision), width=width).splitlines())) <= width


def test_there_is_colour_on_a_terminal_alone(capsys: Any) -> None:
    found = explain("", placement(), PlacementDecisionStatus(selected=(scored("a", 90.0),)))
    assert "\x1b[" in shown(found, force_terminal=True, color_system="standard")
    _, out, _ = run(capsys, "backend", *EXAMPLES)
    assert "\x1b[" not in out


def test_what_a_message_has_for_the_terminal_is_not_passed_on() -> None:
    said = RejectionMessage(message="a\x1b[2Jb", count=1)
    decision = PlacementDecisionStatus(
        rationale="x\x1b]0;y\x07", rejected={"NotReady": Rejection(count=1, messages=(said,))}
    )
    assert "\x1b" not in shown(explain("", placement(), decision))


def test_wide_shows_every_scorer_and_rule() -> None:
    parts = {f"Scorer{number}": ScorePart(raw=1.0, weight=1.0, weighted=1.0) for number in range(9)}
    target = ScoredTarget(target=TargetReference(workspace="", name="a"), breakdown=parts, policy={"p/eu": "met"})
    found = explain("", placement(), PlacementDecisionStatus(selected=(target,)))
    assert "Scorer8" not in shown(found, width=400)
    assert "Scorer8" in shown(found, width=400, wide=True)
    assert "rule p/eu: met" in shown(found, width=400, wide=True)


def test_a_decision_in_the_files_is_read_and_not_made_again(capsys: Any, tmp_path: Any) -> None:
    wish = {"kind": "Placement", "metadata": {"name": "web"}, "spec": {"manifests": [{"kind": "A"}]}}
    made = {
        "kind": "PlacementDecision",
        "metadata": {"name": "web"},
        "status": {"rationale": "as it was", "refusal": "Contended"},
    }
    version = {"apiVersion": "placement.moorage.io/v1alpha1"}
    file = tmp_path / "both.yaml"
    file.write_text(yaml.safe_dump_all([{**version, **wish}, {**version, **made}]))
    code, out, _ = run(capsys, "-f", str(tmp_path), "-o", "json")
    (found,) = json.loads(out)["items"]
    assert (code, found["outcome"], found["summary"]) == (1, "Refused", "as it was")
    assert found["helps"] == remedies.OF_REFUSALS[RefusalCode.CONTENDED]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("-A", "web"), "-A is for all placements"),
        (("--target", "a"), "--target says more of one PLACEMENT"),
        (("-f", "examples/clusters.yaml"), "there is no Placement in the files"),
        (("-f", "examples/placements"), "there is neither a PlacementDecision nor a SyncTarget"),
        (("nobody", *EXAMPLES), "there is no Placement nobody in the files"),
        (("web", "--kubeconfig", "/nowhere"), "/nowhere cannot be read"),
    ],
)  # fmt: skip
def test_what_cannot_be_explained_is_one_line_and_exit_code_2(capsys: Any, argv: tuple[str, ...], message: str) -> None:
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
