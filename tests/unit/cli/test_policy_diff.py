"""`moorage policy diff` on files: who would be refused, move, be resized or be placed by a change of policies."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.cli.main import main
from tests.support.manifests import exception

HEAD = {"apiVersion": "placement.moorage.io/v1alpha1"}


def policy(*rules: dict[str, Any], name: str = "p", **spec: Any) -> dict[str, Any]:
    return {**HEAD, "kind": "PlacementPolicy", "metadata": {"name": name}, "spec": {"rules": list(rules), **spec}}


def target(name: str, **labels: str) -> dict[str, Any]:
    status = {"capacity": {"cpu": "4", "memory": "8Gi", "pods": "100"}}
    return {**HEAD, "kind": "SyncTarget", "metadata": {"name": name, "labels": labels}, "spec": {}, "status": status}


def placement(name: str, **spec: Any) -> dict[str, Any]:
    workload = [{"apiVersion": "apps/v1", "kind": "Deployment", "name": name}]
    return {**HEAD, "kind": "Placement", "metadata": {"name": name}, "spec": {"workload": workload, **spec}}


EU = {"name": "eu", "expression": 'target.labels["region"] == "eu"', "message": "European law"}
LIKES = {"name": "likes", "effect": "Prefer", "weight": 100, "expression": 'target.name == "us-1"'}
ONLY_US = {"targets": {"names": ["us-1"]}}
TARGETS = [target("eu-1", region="eu"), target("us-1", region="us")]
PLACEMENTS = [placement("anywhere"), placement("bound", **ONLY_US)]


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
            main(["policy", "diff", *arguments])
        return int(ended.value.code or 0), *self._capsys.readouterr()

    def diff(self, new: dict[str, Any], *options: str, old: tuple[dict[str, Any], ...] = ()) -> tuple[int, Any]:
        """The exit code, and what becomes of each placement: the change, from where, to where."""
        against = ("--against", self.write("old", *old)) if old else ()
        plane = ("--targets", self.write("targets", *TARGETS), "--placement", self.write("placements", *PLACEMENTS))
        code, out, _ = self.moorage(self.write("new", new), *against, *plane, *options, "-o", "json")
        return code, {
            each["placement"].removeprefix("default/"): (each["change"], *map(_names, (each["from"], each["to"])))
            for each in json.loads(out)["placements"]
        }


def _names(places: list[dict[str, Any]]) -> list[str]:
    return [each["target"] for each in places]


@pytest.fixture
def files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Files:
    return Files(tmp_path, capsys)


def test_who_moves_and_who_would_be_refused_is_told(files: Files) -> None:
    likes = policy(LIKES, name="likes")
    assert files.diff(policy(EU), old=(likes,)) == (
        1,
        {"anywhere": ("Moves", ["us-1"], ["eu-1"]), "bound": ("Refused", ["us-1"], [])},
    )
    code, out, _ = files.moorage(
        *(files.write("new", policy(EU)), "--targets", files.write("targets", *TARGETS)),
        *("--placement", files.write("placements", placement("bound", **ONLY_US))),
    )
    assert code == 1
    assert out.splitlines()[1].split(maxsplit=4)[:4] == ["default/bound", "Refused", "us-1×1", "-"]
    assert "European law" in out
    assert out.endswith("1 of 1 placements would change\n")


def test_nothing_changes_where_a_policy_is_as_it_was_or_does_not_act(files: Files) -> None:
    assert files.diff(policy(EU), old=(policy(EU),))[0] == 0
    assert files.diff(policy(EU, enforcement="DryRun"), old=(policy(LIKES, name="likes"),))[0] == 0


def test_what_was_granted_of_a_policy_holds_for_its_next_version(files: Files) -> None:
    granted = exception("lift", "p", match={"namespaces": ["default"]}, placements=["bound"])
    code, found = files.diff(policy(EU, LIKES), old=(policy(EU), granted))
    assert (code, found["bound"]) == (0, ("Unchanged", ["us-1"], ["us-1"]))


def test_a_policy_on_trial_can_be_taken_as_if_it_were_enforced(files: Files) -> None:
    code, found = files.diff(policy(EU, enforcement="DryRun"), "--enforce")
    assert (code, found["bound"]) == (1, ("Refused", ["us-1"], []))


def test_a_policy_that_is_relaxed_places_what_was_refused(files: Files) -> None:
    code, found = files.diff(policy(EU, enforcement="DryRun"), old=(policy(EU),))
    assert (code, found["bound"]) == (1, ("Placed", [], ["us-1"]))
    assert found["anywhere"][0] == "Unchanged"  # nobody moves without need


def test_what_is_decided_now_may_come_from_a_file(files: Files) -> None:
    now = {
        **HEAD,
        "kind": "PlacementDecision",
        "metadata": {"name": "anywhere", "namespace": "default"},
        "status": {"selected": [{"target": {"name": "us-1"}, "replicas": 1, "reserved": {"cpu": 1}}]},
    }
    _, found = files.diff(policy(EU), "--previous", files.write("previous", now))
    assert found["anywhere"] == ("Moves", ["us-1"], ["eu-1"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "give --targets, or --live"),
        (("--live", "--targets", "x"), "--live reads what is there: leave out"),
    ],
)
def test_a_command_line_that_cannot_be_used_is_one_line(files: Files, options: tuple[str, ...], said: str) -> None:
    code, out, err = files.moorage(files.write("new", policy(EU)), *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_an_invalid_policy_changes_nothing_and_is_told(files: Files) -> None:
    code, out, err = files.moorage(files.write("new", policy({**EU, "expression": "targt.ready"})), "--live")
    assert (code, out) == (1, "")
    assert err.startswith("p: rules[eu].expression: line 1, column 1: undeclared name `targt`")
