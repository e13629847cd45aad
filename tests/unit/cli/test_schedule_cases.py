"""Kinds of answers that were wrong once: each a small fleet in a file of its own, `cases/<name>.yaml`."""

import argparse
import json
from pathlib import Path

import pytest

from services.cli import schedule

CASES = Path(__file__).parent / "cases"


def selected(name: str, capsys: pytest.CaptureFixture[str]) -> list[dict[str, int | None]]:
    """The targets and their replicas, placement by placement, in the order of the file."""
    path = str(CASES / f"{name}.yaml")
    previous = ["--previous", path] if "PlacementDecision" in Path(path).read_text() else []
    commands = argparse.ArgumentParser()
    schedule.add_parser(commands.add_subparsers())
    asked = ["schedule", "--targets", path, "--placement", path, *previous, "--reserve", "-o", "json"]
    schedule.run(commands.parse_args(asked))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [{each["target"].rpartition("/")[2]: each.get("replicas") for each in line["selected"]} for line in lines]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dynamic-proportion", [{"big": 99, "small": 1}]),
        ("dynamic-scale-down", [{"big": 9, "small": 1}]),
        ("dynamic-never-moves", [{"a": 9, "b": 9}]),
        ("aggregated-stays", [{"a": 20, "b": 10}]),
        ("wish-gives-way", [{"a": 6, "b": 6}]),
        ("one-key-room", [{"a": 9, "dd": 9}]),
        ("two-keys-room", [{"a": 2, "b": 5, "c": 7}]),
        ("two-keys-max-domains", [{"f": 2, "g": 2}]),
        ("weights-choose", [{"c": 2}]),
        ("best-that-fits", [{"m2": 54, "m3": 35}]),
        ("job-parallelism", [{"one": 3}]),
        ("self-affinity-needs-the-label", [{"a1": 1}, {"a1": 1}]),
    ],
)
def test_a_kind_of_answer_that_was_wrong_is_right(name, expected, capsys) -> None:
    assert selected(name, capsys) == expected
