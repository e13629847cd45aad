"""`moorage plan` on files: who would move, be held, be refused or be placed if something changed."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.cli.main import main
from services.cli.offline.plane import plane_of
from services.cli.planning.forecast import Forecast
from services.cli.planning.whatif import WhatIf
from services.cli.support.manifests import Manifest, of_kind
from services.controller.settings import ControllerSettings
from shared.api.generate.__main__ import ROOT
from tests.unit.cli.test_policy_tests_page import commands, run

HEAD = {"apiVersion": "placement.moorage.io/v1alpha1"}
REGION = "topology.kubernetes.io/region"
PAGE = (ROOT / "docs/plan.md").read_text()


def target(name: str, region: str = "eu", cpu: str = "8", **spec: Any) -> dict[str, Any]:
    status = {"capacity": {"cpu": cpu, "memory": "64Gi", "pods": "100"}}
    metadata = {"name": name, "labels": {REGION: region, "name": name}}
    return {**HEAD, "kind": "SyncTarget", "metadata": metadata, "spec": spec, "status": status}


def placement(name: str, **spec: Any) -> dict[str, Any]:
    workload = [{"apiVersion": "apps/v1", "kind": "Deployment", "name": name}]
    return {**HEAD, "kind": "Placement", "metadata": {"name": name}, "spec": {"workload": workload, **spec}}


def deployment(name: str, replicas: int = 2) -> dict[str, Any]:
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}
    spec = {"replicas": replicas, "template": {"spec": {"containers": [container]}}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def decision(name: str, *targets: str, replicas: int = 2) -> dict[str, Any]:
    selected = [
        {"target": {"name": each}, "replicas": replicas, "reserved": {"cpu": replicas, "pods": replicas}}
        for each in targets
    ]
    return {
        **HEAD,
        "kind": "PlacementDecision",
        "metadata": {"name": name},
        "status": {"attempt": 1, "selected": selected},
    }


def requires(key: str, value: str) -> dict[str, Any]:
    term = {"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]}
    return {"affinity": {"required": [term]}}


STATE = [
    *(target("eu-1"), target("eu-2"), target("us-1", "us")),
    *(placement("web"), deployment("web"), decision("web", "eu-1")),
]


class Files:
    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._folder = folder
        self._capsys = capsys

    def write(self, name: str, *documents: dict[str, Any]) -> str:
        path = self._folder / f"{name}.yaml"
        path.write_text(yaml.dump_all(documents))
        return str(path)

    def moorage(self, *arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["plan", *arguments])
        return int(ended.value.code or 0), *self._capsys.readouterr()

    def plan(self, *options: str, state: list[dict[str, Any]] = STATE) -> tuple[int, dict[str, Any]]:
        """The exit code, and of each placement what becomes of it."""
        code, out, err = self.moorage("--against", self.write("state", *state), *options, "-o", "json")
        assert out, err
        return code, {each["placement"].removeprefix("default/"): each for each in json.loads(out)["placements"]}


@pytest.fixture
def files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Files:
    return Files(tmp_path, capsys)


def names(places: list[dict[str, Any]]) -> list[str]:
    return [each["target"] for each in places]


@pytest.mark.parametrize("flag", ["--without", "--lost", "--drain"])
def test_what_runs_on_a_target_that_is_gone_lost_or_drained_moves(files: Files, flag: str) -> None:
    code, found = files.plan(flag, "eu-1")
    assert (code, found["web"]["change"], found["web"]["cause"]) == (3, "Moves", "TargetLost: /eu-1")
    assert names(found["web"]["from"]) == ["eu-1"]
    assert names(found["web"]["to"]) in (["eu-2"], ["us-1"])
    assert found["web"]["replicasStarted"] == 2


def test_what_runs_on_a_target_that_is_cordoned_stays(files: Files) -> None:
    code, found = files.plan("--cordon", "eu-1", "--cordon", "us-1")
    assert (code, found["web"]["change"]) == (0, "Unchanged")


def test_nothing_new_goes_to_a_target_that_is_cordoned(files: Files) -> None:
    new = files.write("new", placement("later"), deployment("later"))
    code, found = files.plan("-f", new, "--cordon", "eu-1", "--cordon", "us-1")
    assert (code, found["later"]["change"], names(found["later"]["to"])) == (3, "Placed", ["eu-2"])
    assert found["web"]["change"] == "Unchanged"


def test_a_region_that_is_lost_is_held_by_the_brake_which_can_be_left_out(files: Files) -> None:
    state = [*STATE, target("eu-3")]
    code, found = files.plan("--lost", "region=eu", state=state)
    assert (code, found["web"]["change"]) == (0, "Held")
    assert "most targets of" in found["web"]["refusal"]
    code, found = files.plan("--lost", f"{REGION}=eu", "--no-brake", state=state)
    assert (code, found["web"]["change"], names(found["web"]["to"])) == (3, "Moves", ["us-1"])


def test_who_tolerates_a_loss_for_longer_has_not_moved_by_then(files: Files) -> None:
    patient = placement("web", stability={"evictionTolerationSeconds": 7200})
    state = [patient, *(each for each in STATE if each["kind"] != "Placement")]
    assert files.plan("--lost", "eu-1", state=state)[0] == 0
    assert files.plan("--lost", "eu-1", "--after", "3h", state=state)[0] == 3


def test_what_fits_nowhere_else_is_refused_and_stays_where_it_is(files: Files) -> None:
    state = [target("eu-1"), target("small", cpu="1"), *STATE[3:]]
    code, found = files.plan("--without", "eu-1", state=state)
    assert (code, found["web"]["change"], found["web"]["to"]) == (3, "Refused", [])
    assert "cpu" in found["web"]["refusal"]


def test_a_label_that_decided_moves_what_asked_for_it_and_nothing_else(files: Files) -> None:
    picky = placement("picky", **requires(REGION, "us"))
    state = [*STATE, picky, deployment("picky")]
    there = target("us-1", "us")
    assert files.plan("-f", files.write("same", there), state=state)[0] == 0
    code, found = files.plan("-f", files.write("moved", target("us-1", "eu"), target("eu-2", "us")), state=state)
    assert code == 3
    assert found["web"]["change"] == "Unchanged"
    assert (names(found["picky"]["from"]), names(found["picky"]["to"])) == (["us-1"], ["eu-2"])
    assert found["picky"]["cause"].startswith("TargetChanged")


def test_capacity_in_the_status_of_a_file_counts(files: Files) -> None:
    waits = [target("eu-1", cpu="1"), placement("web"), deployment("web")]
    code, found = files.plan("-f", files.write("grown", target("eu-1", cpu="4")), state=waits)
    assert (code, found["web"]["change"], found["web"]["cause"]) == (3, "Placed", "Waiting: attempt 2")
    code, found = files.plan("-f", files.write("as-it-is", target("eu-1", cpu="1")), state=waits)
    assert (code, found["web"]["change"]) == (0, "Unchanged")


def test_a_policy_that_is_added_moves_those_that_it_forbids(files: Files) -> None:
    rule = {"name": "us", "effect": "Require", "expression": f'target.labels["{REGION}"] == "us"', "message": "only us"}
    policy = {**HEAD, "kind": "PlacementPolicy", "metadata": {"name": "p"}, "spec": {"rules": [rule]}}
    code, found = files.plan("-f", files.write("policy", policy))
    assert (code, found["web"]["change"], names(found["web"]["to"])) == (3, "Moves", ["us-1"])
    assert (found["web"]["cause"], found["web"]["reasons"]) == ("PolicyChanged", {"eu-1": "only us"})
    assert files.plan("-f", files.write("policy", policy), state=[*STATE, policy])[0] == 0


def test_who_is_exempted_from_a_policy_stays_and_what_was_granted_outlives_a_new_version(files: Files) -> None:
    rule = {"name": "us", "effect": "Require", "expression": f'target.labels["{REGION}"] == "us"', "message": "only us"}
    policy = {**HEAD, "kind": "PlacementPolicy", "metadata": {"name": "p"}, "spec": {"rules": [rule]}}
    granted = {
        "policy": "p",
        "rules": ["us"],
        "reason": "until the move",
        "match": {},
        "expiresAt": "2999-01-01T00:00:00Z",
    }
    exception = {**HEAD, "kind": "PolicyException", "metadata": {"name": "e"}, "spec": granted}
    assert files.plan("-f", files.write("both", policy, exception))[0] == 0
    other = {**policy, "spec": {"rules": [{**rule, "message": "the US alone"}]}}
    assert files.plan("-f", files.write("other", other), state=[*STATE, policy, exception])[0] == 0


def override(type: str, target: str, **more: Any) -> dict[str, Any]:
    spec = {"type": type, "targets": [{"name": target}], "placementRef": {"name": "web"}, "reason": "a test"}
    return {**HEAD, "kind": "PlacementOverride", "metadata": {"name": type.lower()}, "spec": {**spec, **more}}


def test_an_override_that_is_applied_moves_what_it_is_about(files: Files) -> None:
    code, found = files.plan("-f", files.write("away", override("Exclude", "eu-1")))
    assert (code, found["web"]["change"]) == (3, "Moves")
    assert names(found["web"]["to"]) in (["eu-2"], ["us-1"])


def test_an_override_that_is_there_is_followed_until_it_ends(files: Files) -> None:
    bigger = files.write("bigger", deployment("web", replicas=3))
    assert names(files.plan("-f", bigger, state=[*STATE, override("Force", "us-1")])[1]["web"]["to"]) == ["us-1"]
    over = [*STATE, override("Force", "us-1", expiresAt="2020-01-01T00:00:00Z")]
    assert names(files.plan("-f", bigger, state=over)[1]["web"]["to"]) == ["eu-1"]


def test_an_override_that_is_not_in_force_counts_for_nothing(files: Files) -> None:
    said = {"type": "Accepted", "status": "False", "reason": "No", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    refused = {**override("Exclude", "eu-1"), "status": {"conditions": [said]}}
    assert files.plan("-f", files.write("away", refused))[0] == 0


def test_what_nothing_can_be_told_of_is_refused_and_not_dropped(files: Files) -> None:
    code, out, err = files.moorage(
        "--against", files.write("state", *STATE), "-f", files.write("decision", decision("web", "eu-2"))
    )
    assert (code, out) == (2, "")
    assert "nothing can be told of what that would change" in err


def test_a_workload_that_grows_is_resized_where_it_is(files: Files) -> None:
    code, found = files.plan("-f", files.write("more", deployment("web", 5)))
    assert (code, found["web"]["change"], found["web"]["replicasStarted"]) == (3, "Resized", 3)
    assert found["web"]["to"] == [{"target": "eu-1", "replicas": 5}]


def test_what_is_applied_as_it_is_changes_nothing(files: Files) -> None:
    code, found = files.plan("-f", files.write("same", *(each for each in STATE if "Decision" not in each["kind"])))
    assert (code, found["web"]["change"], found["web"]["cause"]) == (0, "Unchanged", "")


def test_each_sees_what_those_before_it_took(files: Files) -> None:
    apps = [each for n in "abc" for each in (placement(n), deployment(n, 4), decision(n, "eu-1", replicas=4))]
    state = [target("eu-1", cpu="12"), target("eu-2", cpu="4"), target("us-1", cpu="4"), *apps]
    code, found = files.plan("--without", "eu-1", state=state)
    assert code == 3
    assert sorted(each["change"] for each in found.values()) == ["Moves", "Moves", "Refused"]
    assert {name for each in found.values() for name in names(each["to"])} == {"eu-2", "us-1"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "say what would change"),
        (("--without", "nowhere"), "there is no target nowhere"),
        (("--lost", "region=mars"), "there is no target region=mars"),
    ],
)
def test_a_command_line_that_cannot_be_used_is_one_line(files: Files, options: tuple[str, ...], said: str) -> None:
    code, out, err = files.moorage("--against", files.write("state", *STATE), *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_the_page_is_true_word_for_word(tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", str(ROOT / "examples"), str(tmp_path)], check=True)
    (console,) = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    found = list(commands(console))
    assert len(found) == 2
    for command, printed in found:
        assert run(command, tmp_path) == printed, command


async def test_who_was_asked_to_look_moves_on_paper_where_it_gains_and_others_do_not() -> None:
    region = {"key": REGION, "operator": "In", "values": ["eu"]}
    tiers = {"affinity": {"tiers": [{"name": "eu", "required": [{"matchExpressions": [region]}]}, {"name": "any"}]}}
    documents = [
        *(target("eu-1"), target("us-1", "us")),
        *(placement("web", **tiers), deployment("web"), decision("web", "us-1")),
        *(placement("api", **tiers), deployment("api"), decision("api", "us-1")),
    ]
    manifests = [Manifest(each, "state.yaml") for each in documents]
    forecast = Forecast(plane_of(manifests, manifests, (), manifests), ControllerSettings(), 1000.0, 0.0)
    asked = WhatIf(looking=lambda ref: ref.name == "web")
    found = await forecast.of(of_kind(manifests, "Placement"), asked)
    said = {each.placement.name: (each.kind, [target for target, _ in each.after], each.cause) for each in found}
    assert said == {
        "web": ("Moves", ["/eu-1"], "Rebalance: asked for"),
        "api": ("Unchanged", ["/us-1"], ""),
    }
