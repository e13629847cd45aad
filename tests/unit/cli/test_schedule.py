"""`moorage schedule`: decisions on manifests alone."""

import argparse
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli import schedule
from tests.unit.cli.conftest import Run
from tests.unit.cli.scheduling import DEPLOYMENT, HEAD, TARGETS, command, placement


def test_every_number_and_every_reason_is_shown(decided: Run) -> None:
    code, (answer,) = decided(placement=placement() + "---" + DEPLOYMENT)
    assert code == 0
    (selected,) = answer["selected"]
    assert (selected["target"], selected["replicas"]) == ("eu-2", 6)
    assert selected["breakdown"]["Resource"]["raw"] == pytest.approx((70 + 85) / 2)
    assert sum(part["weighted"] for part in selected["breakdown"].values()) == pytest.approx(
        selected["score"], abs=1e-6
    )
    assert [each["target"] for each in answer["alternates"]] == ["root:us/us-1"]
    assert [each["target"] for each in answer["scores"]] == ["eu-2", "root:us/us-1"]
    assert answer["rejected"]["eu-1"] == [
        {"filter": "Taints", "reason": "UntoleratedTaint", "message": "untolerated taint spot=true"},
        {"filter": "Fit", "reason": "InsufficientResources", "message": "insufficient memory"},
    ]
    assert [each["filter"] for each in answer["rejected"]["down"]] == ["Readiness", "Fit", "Fit", "Fit"]
    assert answer["refusal"] is None


@pytest.mark.parametrize("enforcement", ["DryRun", "Warn"])
def test_what_rules_on_trial_say_is_listed(
    decided: Run, enforcement: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = f"""
{HEAD}kind: PlacementPolicy
metadata: {{name: trial}}
spec:
  enforcement: {enforcement}
  rules: [{{name: not-us, effect: Forbid, expression: "target.name == 'us-1'", message: not there}}]
"""
    spec = "targets: {names: [us-1, eu-2], count: {min: 2, max: 2}}"
    code, (answer,) = decided(placement=placement(spec=spec), policy=policy)
    (trial,) = answer["onTrial"]
    assert (code, trial["policy"], trial["rule"], trial["enforcement"]) == (0, "trial", "not-us", enforcement)
    assert (trial["outcomes"]["root:us/us-1"], trial["outcomes"]["eu-2"]) == ("true", "false")
    assert answer["warnings"] == ({"root:us/us-1": ["not there"]} if enforcement == "Warn" else {})
    command(tmp_path, placement=placement(spec=spec), policy=policy)
    out = capsys.readouterr().out
    assert f"  {enforcement} trial/not-us (Forbid): true on root:us/us-1; false on " in out
    assert ("  warning: root:us/us-1: not there\n" in out) == (enforcement == "Warn")


def test_policies_decide_and_score(decided: Run) -> None:
    policy = f"""
{HEAD}kind: PlacementPolicy
metadata: {{name: residency}}
spec:
  rules:
  - name: eu
    expression: "target.hasLabel('topology.kubernetes.io/region', 'eu')"
    effect: Require
    message: not in the EU
"""
    code, (answer,) = decided(placement=placement(), policy=policy)
    assert code == 0
    assert answer["rejected"]["root:us/us-1"][0]["filter"] == "Policy"
    inline = "policies: [{name: us, expression: \"target.name == 'us-1'\", effect: Prefer}]"
    _, (answer,) = decided(placement=placement(spec=inline))
    assert answer["selected"][0]["target"] == "root:us/us-1"
    assert answer["selected"][0]["breakdown"]["Policy"]["raw"] == 100.0
    code, (answer,) = decided(placement=placement(spec="policies: [{name: x, expression: nonsense}]"))
    assert (code, answer["refusal"]["code"]) == (1, "InvalidPolicy")


def test_previous_decisions_hold_and_take_their_capacity(decided: Run) -> None:
    def decision(name: str, target: str, cpu: int) -> str:
        selected = f"[{{target: {target}, replicas: 6, reserved: {{cpu: {cpu}}}}}]"
        metadata = f"metadata: {{name: {name}, namespace: shop}}"
        return f"{HEAD}kind: PlacementDecision\n{metadata}\nstatus: {{selected: {selected}}}\n"

    on_us = "{workspace: 'root:us', name: us-1}"
    _, (answer,) = decided(placement=placement(), previous=decision("web", on_us, 3))
    assert answer["selected"][0]["target"] == "root:us/us-1"
    _, (answer,) = decided(placement=placement() + "---" + DEPLOYMENT, previous=decision("other", "{name: eu-2}", 8))
    assert answer["rejected"]["eu-2"][0]["message"] == "insufficient cpu"


@pytest.mark.parametrize(
    ("tolerated", "added", "stays"),
    [
        ("tolerationSeconds: 60", "2026-01-01T00:00:00Z", False),
        ("tolerationSeconds: 60", "2126-01-01T00:00:00Z", True),
        ("tolerationSeconds: 60", None, True),
        ("tolerationSeconds: 0", None, False),
        ("effect: NoExecute", "2026-01-01T00:00:00Z", True),
    ],
)
def test_a_target_is_left_when_it_was_tolerated_for_long_enough(decided: Run, tolerated, added, stays) -> None:
    since = f', timeAdded: "{added}"' if added else ""
    targets = "---\n".join(
        f"""
{HEAD}kind: SyncTarget
metadata: {{name: {name}}}
spec: {{taints: [{taint}]}}
status: {{allocatable: {{cpu: 8, memory: 40Gi, pods: 110}}}}
"""
        for name, taint in (("a", f"{{key: full, effect: NoExecute{since}}}"), ("b", ""))
    )
    metadata = "metadata: {name: web, namespace: shop}"
    previous = f"{HEAD}kind: PlacementDecision\n{metadata}\nstatus: {{selected: [{{target: {{name: a}}}}]}}\n"
    effect = "" if "effect" in tolerated else ", effect: NoExecute"
    wish = f"targets: {{tolerations: [{{key: full, operator: Exists{effect}, {tolerated}}}]}}"
    _, (line,) = decided(targets=targets, placement=f"{DEPLOYMENT}---\n{placement(spec=wish)}", previous=previous)
    assert [each["target"] for each in line["selected"]] == (["a"] if stays else ["b"])
    assert [each["message"] for each in line["rejected"].get("a", [])] == (
        [] if stays else ["tolerated for long enough"]
    )


def test_quotas_hold_and_previous_decisions_use_them_up(decided: Run) -> None:
    def offer(name: str, cpu: int) -> str:
        spec = f"quotas: [{{workspace: 'root:team', hard: {{cpu: {cpu}, memory: 100Gi}}}}]"
        return f"{HEAD}kind: SyncTarget\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n{status}\n"

    def of(workspace: str, text: str) -> str:
        return text.replace("metadata: {", f"metadata: {{annotations: {{kcp.io/path: '{workspace}'}}, ", 1)

    status = "status: {allocatable: {cpu: 100, memory: 100Gi, pods: 110}}"
    targets = offer("big", 6) + "---\n" + offer("small", 2)
    selected = "selected: [{target: {name: big}, reserved: {cpu: 4}}]"
    decision = f"{HEAD}kind: PlacementDecision\nmetadata: {{name: other, namespace: shop}}\nstatus: {{{selected}}}\n"
    asked = of("root:team:dev", placement()) + "---" + DEPLOYMENT

    code, (answer,) = decided(placement=asked, targets=targets)
    assert (code, [each["target"] for each in answer["selected"]]) == (0, ["big"])
    assert answer["rejected"]["small"] == [
        {"filter": "Quota", "reason": "QuotaExceeded", "message": "insufficient cpu quota of root:team"}
    ]
    code, (answer,) = decided(placement=asked, targets=targets, previous=of("root:team:ops", decision))
    assert (code, answer["refusal"]["message"]) == (1, "0/2 targets: 2 insufficient cpu quota of root:team")
    code, _ = decided(placement=asked, targets=targets, previous=of("root:rival", decision))
    assert code == 0


@pytest.mark.parametrize(
    ("moved", "target"), [("2020-01-01T00:00:00Z", "root:us/us-1"), ("2999-01-01T00:00:00Z", "eu-2")]
)
def test_a_placement_returns_to_its_preferred_tier_when_its_last_move_is_long_ago(decided: Run, moved, target) -> None:
    elsewhere = "{matchExpressions: [{key: topology.kubernetes.io/region, operator: DoesNotExist}]}"
    tiers = f"affinity: {{tiers: [{{name: elsewhere, required: [{elsewhere}]}}, {{name: anywhere}}]}}"
    stability = "stability: {rebalance: {type: WhenBetter, cooldown: 1h}}"
    history = f"[{{when: '{moved}', why: TargetLost, from: [{{name: x}}], to: [{{name: eu-2}}]}}]"
    previous = f"""
{HEAD}kind: PlacementDecision
metadata: {{name: web, namespace: shop}}
status: {{selected: [{{target: {{name: eu-2}}, reserved: {{cpu: 3}}}}], history: {history}}}
"""
    _, (answer,) = decided(placement=placement(spec=f"{tiers}\n  {stability}"), previous=previous)
    assert [each["target"] for each in answer["selected"]] == [target]
    others = [reasons for reasons in answer["rejected"].values() if reasons[0]["filter"] == "Tiers"]
    assert [each[0]["message"] for each in others] == (["not in tier elsewhere"] if target != "eu-2" else [])


def test_placements_see_each_other_when_asked_to(decided: Run) -> None:
    term = "{selector: {matchLabels: {a: b}}, topologyKey: topology.kubernetes.io/region}"
    apart = f"affinity: {{placementAntiAffinity: [{term}]}}\n  targets: {{names: [eu-2]}}"
    both = "---\n".join(placement(name, apart, "{a: b}") for name in ("one", "two")) + "---" + DEPLOYMENT
    assert decided(placement=both)[0] == 0
    code, (_, second) = decided("--reserve", placement=both)
    assert (code, second["rejected"]["eu-2"][0]["reason"]) == (1, "UnwantedNeighbour")
    many = "---\n".join(placement(f"p{n}") for n in range(8)) + "---" + DEPLOYMENT
    code, answers = decided("--reserve", placement=many)
    assert code == 1
    assert sum(1 for each in answers if each["selected"]) == 5  # three of 3 cores fit in 10, two in 8
    assert answers[-1]["refusal"]["message"].startswith("0/4 targets: 2 insufficient cpu")


def test_a_placement_that_moves_gives_back_what_it_held(decided: Run) -> None:
    held = "{target: {workspace: 'root:us', name: us-1}, reserved: {cpu: 8}}"
    previous = (
        f"{HEAD}kind: PlacementDecision\nmetadata: {{name: one, namespace: shop}}\nstatus: {{selected: [{held}]}}"
    )
    one, two = placement("one", "targets: {names: [eu-2]}"), placement("two", "targets: {names: [us-1]}")
    both = f"{one}---\n{two}---{DEPLOYMENT}"
    code, (_, second) = decided(placement=both, previous=previous)
    assert (code, second["rejected"]["root:us/us-1"][0]["message"]) == (1, "insufficient cpu")
    assert decided("--reserve", placement=both, previous=previous)[0] == 0
    refused = f"{one.replace('eu-2', 'down')}---\n{two}---{DEPLOYMENT}"  # keeps what it has
    code, (_, second) = decided("--reserve", placement=refused, previous=previous)
    assert second["rejected"]["root:us/us-1"][0]["message"] == "insufficient cpu"


def test_a_wrong_placement_is_refused_as_in_the_pipeline_and_the_others_are_decided(decided: Run) -> None:
    wrong = {
        "scorer": "strategy: {scorers: [{name: Bst}]}",
        "count": "targets: {count: {min: 2, max: 1}}",
        "percent": "targets: {count: {min: 101%}}",
        "type": "targets: 3",
        "twice": "spread: [{topologyKey: r}, {topologyKey: r}]",
    }
    documents = [placement(name, spec) for name, spec in wrong.items()]
    code, answers = decided(placement="---\n".join([placement("first"), *documents, placement("last")]))
    assert code == 1
    refused = {each["placement"]: each["refusal"] and each["refusal"]["message"] for each in answers}
    assert refused.pop("shop/first") is None
    assert refused.pop("shop/last") is None
    assert {each["refusal"]["code"] for each in answers if each["refusal"]} == {"InvalidPlacement"}
    assert refused["shop/scorer"].startswith("spec.strategy.scorers[0].name: 'Bst' is no known scorer; known are")
    assert refused["shop/count"] == "spec.targets.count: min 2 must not be above max 1."
    assert "$.spec.targets.count.min" in refused["shop/percent"]
    assert refused["shop/type"] == "Placement: Expected `object`, got `int` - at `$.spec.targets`"
    assert refused["shop/twice"] == "spec.spread: topologyKey 'r' is given 2 times, it must be unique."


def test_an_object_that_is_selected_twice_counts_once(decided: Run) -> None:
    twice = placement().replace("workload: [", "workload: [{apiVersion: apps/v1, kind: Deployment, name: web}, ")
    heavy = DEPLOYMENT.replace("500m", "1")  # six cores of ten fit once
    assert decided(placement=f"{twice}---{heavy}")[0] == 0


def test_workspaces_keep_placements_of_one_name_apart(decided: Run) -> None:
    def at(workspace: str, text: str) -> str:
        return text.replace("metadata: {", f"metadata: {{annotations: {{'kcp.io/path': '{workspace}'}}, ", 1)

    previous = f"{HEAD}kind: PlacementDecision\nmetadata: {{name: web, namespace: shop}}\n"
    previous += "status: {selected: [{target: {name: us-1, workspace: 'root:us'}, reserved: {cpu: 1}}]}\n"
    both = f"{at('root:a', placement())}---\n{at('root:b', placement())}---{at('root:b', DEPLOYMENT)}"
    _, (first, second) = decided(placement=both, previous=at("root:b", previous))
    assert [each["selected"][0]["replicas"] for each in (first, second)] == [1, 6]
    assert "Steady" not in first["selected"][0]["breakdown"]
    assert second["selected"][0]["target"] == "root:us/us-1"


def test_the_table_is_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(tmp_path, placement=placement()) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "shop/web  BestFit"
    assert shown[1].split() == ["TARGET", "REPLICAS", "SCORE", "RESOURCE", "LOAD"]
    assert shown[2].split()[0] == "selected"
    assert "  1 not ready: down" in shown
    assert command(tmp_path, placement=placement(spec="targets: {count: {min: 9}}")) == 1
    assert "  refused: TooFewTargets: 9 targets are wanted, 2 fit" in capsys.readouterr().out


def test_standard_input_and_inline_manifests(tmp_path: Path, decided: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    inline = f"""{HEAD}kind: Placement
metadata: {{name: web}}
spec:
  manifests:
  - apiVersion: apps/v1
    kind: Deployment
    metadata: {{name: big}}
    spec: {{replicas: 3, template: {{spec: {{containers: [{{name: c, resources: {{requests: {{cpu: 3}}}}}}]}}}}}}
"""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(inline.encode())))
    parser = argparse.ArgumentParser()
    schedule.add_parser(parser.add_subparsers())
    (tmp_path / "targets.yaml").write_text(TARGETS)
    args = parser.parse_args(["schedule", "--targets", str(tmp_path / "targets.yaml"), "--placement", "-"])
    assert args.run(args) == 0


def test_thousands_of_placements_in_one_process(decided: Run) -> None:
    code, answers = decided(placement="---\n".join(placement(f"p{n}") for n in range(1000)))
    assert (code, len(answers)) == (0, 1000)


def test_the_answer_is_the_same_in_every_process(tmp_path: Path) -> None:
    many = "---\n".join(placement(f"p{n}", "replicas: {division: Dynamic}") for n in range(5)) + "---" + DEPLOYMENT
    (tmp_path / "targets.yaml").write_text(TARGETS)
    (tmp_path / "placement.yaml").write_text(many)
    call = (
        "import argparse, sys; from services.cli import schedule; parser = argparse.ArgumentParser();"
        "schedule.add_parser(parser.add_subparsers()); args = parser.parse_args(sys.argv[1:]); sys.exit(args.run(args))"
    )
    files = ("--targets", str(tmp_path / "targets.yaml"), "--placement", str(tmp_path / "placement.yaml"))
    answers = {
        subprocess.run(
            [sys.executable, "-c", call, "schedule", *files, "-o", "json"],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(answers) == 1
