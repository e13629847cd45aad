"""Policies that go by labels of workspaces and namespaces, on paper: with these in the files, and without."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.cli import main as cli
from tests.support.manifests import obj, placement, policy

GOLD = {"matchLabels": {"tier": "gold"}}
NOWHERE = {"name": "nowhere", "effect": "Forbid", "expression": "true", "message": "not there"}
HEAD = "placement.moorage.io/v1alpha1"


def at(path: str, manifest: dict[str, Any], **labels: str) -> dict[str, Any]:
    """An object in a workspace, with labels."""
    metadata = {**manifest["metadata"], "annotations": {"kcp.io/path": path}, "labels": labels}
    return {**manifest, "metadata": metadata}


TARGET = at("root", obj("SyncTarget", HEAD, name="east", namespace="", spec={}, status={"capacity": {"pods": "10"}}))
PLACEMENT = at("root:shop:web", placement())
CLOSED = at("root", policy("closed", NOWHERE, match={"namespaceSelector": GOLD}))
BELOW_GOLD = at("root", policy("closed", NOWHERE, match={"workspaceSelector": GOLD}))


def namespace(**labels: str) -> dict[str, Any]:
    return at("root:shop:web", obj("Namespace", name="shop", namespace=""), **labels)


def workspace(path: str, **labels: str) -> dict[str, Any]:
    parent, _, name = path.rpartition(":")
    return at(parent, obj("Workspace", "tenancy.kcp.io/v1alpha1", name=name, namespace=""), **labels)


def main(argv: list[str]) -> int:
    """The code with which the command ends."""
    with pytest.raises(SystemExit) as ended:
        cli.main(argv)
    assert isinstance(ended.value.code, int)
    return ended.value.code


class Files:
    """Files of manifests in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0

    def of(self, *manifests: dict[str, Any]) -> str:
        self._count += 1
        path = self._folder / f"{self._count}.yaml"
        path.write_text(yaml.safe_dump_all(manifests))
        return str(path)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


UNKNOWN = "are not known: policies that go by them count as if they held"


@pytest.mark.parametrize(
    ("rule", "beside", "code", "said"),
    [
        (CLOSED, [namespace(tier="gold")], 1, ""),
        (CLOSED, [namespace(tier="none")], 0, ""),
        (CLOSED, [], 1, f"the labels of namespace shop of root:shop:web {UNKNOWN}"),
        (BELOW_GOLD, [workspace("root:shop", tier="gold"), workspace("root:shop:web")], 1, ""),
        (BELOW_GOLD, [workspace("root:shop"), workspace("root:shop:web", tier="none")], 0, ""),
        (BELOW_GOLD, [workspace("root:shop")], 1, f"the labels of workspace root:shop:web {UNKNOWN}"),
    ],
)
def test_schedule_goes_by_the_labels_in_the_files_and_says_whose_it_does_not_know(
    files: Files,
    capsys: pytest.CaptureFixture[str],
    rule: dict[str, Any],
    beside: list[dict[str, Any]],
    code: int,
    said: str,
) -> None:
    given = ["--targets", files.of(TARGET), "--placement", files.of(PLACEMENT, *beside), "--policy", files.of(rule)]
    assert main(["schedule", *given]) == code
    found = capsys.readouterr().err
    assert said in found if said else UNKNOWN not in found


def test_policy_test_goes_by_them_too(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["policy", "test", files.of(CLOSED), "--targets", files.of(TARGET), "-o", "json", "--placement"]
    assert main([*given, files.of(PLACEMENT, namespace(tier="none"))]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main([*given, files.of(PLACEMENT)]) == 0
    out, err = capsys.readouterr()
    assert [each["rule"] for each in json.loads(out)] == ["nowhere"]
    assert UNKNOWN in err


def test_plan_says_what_would_become_of_a_placement_whose_namespace_is_relabelled(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    against = files.of(TARGET, PLACEMENT, CLOSED, namespace(tier="none"))
    assert main(["plan", "-f", files.of(namespace(tier="gold")), "--against", against, "-o", "json"]) == 3
    (found,) = json.loads(capsys.readouterr().out)["placements"]
    assert (found["change"], found["cause"]) == ("Refused", "PolicyChanged")
    assert main(["plan", "-f", files.of(namespace(other="label")), "--against", against, "-o", "json"]) == 0


def test_policy_diff_says_what_a_selector_would_change(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--targets", files.of(TARGET), "--placement", files.of(PLACEMENT, namespace(tier="gold")), "-o", "json"]
    assert main(["policy", "diff", files.of(CLOSED), *given]) == 1
    (found,) = json.loads(capsys.readouterr().out)["placements"]
    assert found["change"] == "Refused"
    others = at("root", policy("closed", NOWHERE, match={"namespaceSelector": {"matchLabels": {"tier": "none"}}}))
    assert main(["policy", "diff", files.of(others), *given]) == 0
