"""What the README shows is what there is."""

import re
from pathlib import Path

import yaml

from services.cli.main import COMMANDS
from services.registry import load_all
from shared import topology
from shared.api import decode_placement, validate_placement

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_diagram_is_the_one_that_is_drawn_from_the_declarations():
    shown = re.search(r"```mermaid\n(.*?)```", README, re.DOTALL)
    assert shown
    assert shown.group(1) == topology.diagram(load_all())


def test_every_worker_is_wired_on_both_ends():
    topology.check(load_all())


def test_links_and_paths_lead_somewhere():
    for path in re.findall(r"\]\(((?!https?:)[^)#]+)", README):
        assert (ROOT / path).exists(), path


def test_the_example_is_a_valid_placement():
    shown = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert shown
    assert validate_placement(decode_placement(yaml.safe_load(shown.group(1)))) == []


def test_the_commands_are_those_that_there_are():
    for command in re.findall(r"moorage ([a-z]+)", README):
        assert command in (*COMMANDS, "places", "finds", "is"), command
