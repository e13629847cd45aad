"""What the README shows is what there is."""

import re
from pathlib import Path

import yaml

from services.cli.main import COMMANDS
from services.registry import load_all
from shared.api import decode_placement, decode_synctarget, validate_placement
from shared.pipeline import topology

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


def test_the_clusters_to_try_placements_on_are_those_of_the_demo():
    world = yaml.safe_load((ROOT / "examples/world.yaml").read_text())
    paper = list(yaml.safe_load_all((ROOT / "examples/clusters.yaml").read_text()))
    for target, manifest in zip(world["targets"], paper, strict=True):
        synctarget = decode_synctarget(manifest)
        assert synctarget.metadata.name == target["name"]
        assert synctarget.metadata.labels == target["labels"]
        assert synctarget.metadata.annotations == {"kcp.io/path": target["workspace"]}
        assert manifest["spec"].get("taints", []) == target.get("taints", [])
        assert manifest["spec"].get("allowedWorkspaces", {}).get("paths") == target.get("allowedWorkspaces")
        assert manifest["status"]["capacity"] == manifest["status"]["allocatable"] == target["capacity"]
        assert manifest["status"].get("allocated") == target.get("allocated")
