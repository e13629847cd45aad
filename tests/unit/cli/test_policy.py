"""`moorage policy check` and `moorage policy test`, on files."""

import asyncio
import errno
import json
import os
from pathlib import Path
from typing import Any, NoReturn

import pytest

from services.cli.main import main
from services.cli.support import broker

HEAD = "apiVersion: placement.moorage.io/v1alpha1\n"
GOOD = (
    HEAD
    + """kind: PlacementPolicy
metadata: {name: eu}
spec:
  variables: [{name: region, expression: 'target.labels["region"]'}]
  rules:
  - {name: eu, expression: 'variables.region == "eu"'}
  - {name: tainted, expression: 'target.taints.exists(t, t.key == "x")', effect: Forbid}
"""
)
MANY = list(range(150))
COSTLY = GOOD.replace('variables.region == "eu"', f"{MANY}.all(a, {MANY}.map(b, a + b).all(c, c + target.nodes >= 0))")
DOUBTFUL = GOOD.replace('variables.region == "eu"', 'target.kubernetesVersion < "v1.9"')
BAD = GOOD.replace("variables.region ==", "variables.reigon ==")
INLINE = (
    HEAD
    + """kind: Placement
metadata: {name: cart}
spec:
  workload: [{apiVersion: apps/v1, kind: Deployment, name: cart}]
  policies: [{name: ready, expression: 'target.ready && placement.name == "cart"'}]
"""
)
TARGETS = "---\n".join(
    HEAD + f"kind: SyncTarget\nmetadata: {{name: {name}, labels: {labels}}}\nspec: {{}}\n"
    for name, labels in (("a", "{region: eu}"), ("b", "{region: us}"))
)
UNLABELLED = HEAD + "kind: SyncTarget\nmetadata: {name: c}\nspec: {}\n"


def moorage(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["policy", *arguments])
    return int(ended.value.code or 0)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    made = {
        "good": GOOD,
        "bad": BAD,
        "doubtful": DOUBTFUL,
        "costly": COSTLY,
        "inline": INLINE,
        "targets": TARGETS,
        "unlabelled": UNLABELLED,
        "broken": "a: [",
    }
    for name, text in made.items():
        (tmp_path / name).write_text(text)
    return {name: str(tmp_path / name) for name in (*made, "missing")}


@pytest.mark.parametrize(("file", "code"), [("good", 0), ("inline", 0), ("bad", 1), ("broken", 2), ("missing", 2)])
def test_the_exit_code_says_how_it_went(file: str, code: int, files: dict[str, str]) -> None:
    assert moorage("check", files[file]) == code


def test_findings_are_lines_for_people(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    moorage("check", files["bad"])
    assert capsys.readouterr().out == (
        "eu: rules[eu].expression: line 1, column 11: undeclared variable `variables.reigon` (did you mean `region`?)\n"
    )


def test_findings_and_plan_are_json_for_scripts(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    moorage("check", files["bad"], "-o", "json")
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["policy"], finding["line"], finding["column"]) == ("eu", 1, 11)
    moorage("check", files["good"], "--plan", "-o", "json")
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert [(each["rule"], each["method"]) for each in plan] == [("eu", "columns"), ("tainted", "memo")]


def test_what_is_hardly_meant_is_a_warning(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    said = "rules[eu].expression: line 1, column 1: target.kubernetesVersion is compared letter by letter"
    assert moorage("check", files["doubtful"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"no findings\neu: warning: {said}")
    assert moorage("check", files["doubtful"], "-o", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["findings"], [each["line"] for each in told["warnings"]]) == ([], [1])
    assert moorage("test", files["doubtful"], "--targets", files["targets"]) == 0
    assert f"moorage: warning: eu: {said}" in capsys.readouterr().err


def test_rules_are_tried_on_targets(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert moorage("test", files["good"], "--targets", files["targets"], "--placement", files["inline"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["TARGET", "POLICY", "RULE", "EFFECT", "OUTCOME", "ERROR"],
        ["a", "placement", "ready", "Require", "true"],
        ["a", "eu", "eu", "Require", "true"],
        ["a", "eu", "tainted", "Forbid", "false"],
        ["b", "placement", "ready", "Require", "true"],
        ["b", "eu", "eu", "Require", "false"],
        ["b", "eu", "tainted", "Forbid", "false"],
    ]
    moorage("test", files["good"], "--targets", files["targets"], "-o", "json")
    assert json.loads(capsys.readouterr().out)[0]["outcome"] == "true"


def test_a_rule_that_fails_on_a_target_is_a_finding(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert moorage("test", files["good"], "--targets", files["unlabelled"]) == 1
    assert "no such key: 'region'" in capsys.readouterr().out
    assert moorage("test", files["bad"], "--targets", files["targets"]) == 1


def test_an_invalid_rule_leaves_valid_json_on_standard_output(
    files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert moorage("test", files["bad"], "--targets", files["targets"], "-o", "json") == 1
    out, err = capsys.readouterr()
    assert json.loads(out) == []
    assert "undeclared variable `variables.reigon`" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("check", "targets"), "there is no PlacementPolicy, and no Placement with rules, in it"),
        (("test", "good", "--targets", "good"), "there is no SyncTarget in it"),
        (("test", "good", "--targets", "targets", "--placement", "good"), "there is no Placement in it"),
    ],
)
def test_a_file_without_what_is_needed_is_one_line(
    arguments: tuple[str, ...], said: str, files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert moorage(*(files.get(each, each) for each in arguments)) == 2
    assert capsys.readouterr().err.endswith(f"{said}\n")


def test_live_without_a_broker_is_one_line(
    files: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "CONNECT_TIMEOUT", 0.2)
    nowhere = ("--nats-url", "nats://127.0.0.1:9")
    assert moorage("test", files["good"], "--targets", "live", *nowhere) == 1
    assert "moorage: no NATS answers at nats://127.0.0.1:9 within 0.2 s" in capsys.readouterr().err


async def no_process(*_: Any, **__: Any) -> NoReturn:
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


@pytest.mark.parametrize("command", ["policy test", "schedule"])
def test_where_no_process_can_be_started_is_one_line(
    command: str, files: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A costly rule needs a process of its own."""
    monkeypatch.setattr(asyncio, "create_subprocess_exec", no_process)
    arguments = {
        "policy test": ["policy", "test", files["costly"]],
        "schedule": ["schedule", "--policy", files["costly"], "--placement", files["inline"]],
    }
    with pytest.raises(SystemExit) as ended:
        main([*arguments[command], "--targets", files["targets"]])
    assert ended.value.code == 1
    said = "no process that evaluates rules can be started: Resource temporarily unavailable"
    assert capsys.readouterr().err == f"moorage: {said}\n"
