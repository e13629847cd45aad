"""docs/policy-tests.md: its files are written, its commands are run, and print what stands there."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from shared.api.generate.__main__ import ROOT

PAGE = (ROOT / "docs/policy-tests.md").read_text()
FENCES = re.compile(r"(?:`(?P<file>[\w.]+)`[^`]*)?```(?P<kind>yaml|console)\n(?P<text>.*?)```", re.DOTALL)
LIVE = "--live"
"""Commands that need a system are run on one (tests/e2e/test_policy_diff.py)."""


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a console, and what it prints."""
    for block in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, printed = block.partition("\n")
        yield command, printed


def run(command: str, folder: Path) -> str:
    """All that a command prints."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        ["sh", "-c", f"{command} 2>&1"],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return ran.stdout


@pytest.mark.timeout(600)
def test_the_page_is_true_word_for_word(tmp_path: Path) -> None:
    written = []
    for fence in FENCES.finditer(PAGE):
        if fence["kind"] == "yaml" and fence["file"]:
            (tmp_path / fence["file"]).write_text(fence["text"])
            written.append(fence["file"])
        elif fence["kind"] == "yaml":
            workflow = yaml.safe_load(fence["text"])
            assert workflow["env"]["MOORAGE"].split()[-1] in (ROOT / "docs/release.md").read_text()
            steps = [step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step]
            assert [step.partition(" policy ")[0] for step in steps] == ["$MOORAGE"] * 2
            for broken in (False, True):
                if broken:
                    policy = tmp_path / "residency.yaml"
                    policy.write_text(policy.read_text().replace('"continent"', '"continents"'))
                passed = [
                    run(f"MOORAGE=moorage; {step} && echo passes", tmp_path).endswith("passes\n") for step in steps
                ]
                assert passed == [True, not broken]
            run("cp main.yaml residency.yaml", tmp_path)
        else:
            for command, printed in commands(fence["text"]):
                if LIVE not in command:
                    assert run(command, tmp_path) == printed, command
    assert written == ["residency.yaml", "clusters.yaml", "placements.yaml", "residency.test.yaml"]


@pytest.mark.timeout(300)
def test_the_rules_that_docs_policy_shows_are_tried_as_it_says(tmp_path: Path) -> None:
    page = (ROOT / "docs/policy.md").read_text()
    policy, *_ = (each["text"] for each in FENCES.finditer(page) if each["kind"] == "yaml")
    (console,) = (each["text"] for each in FENCES.finditer(page) if "policy check payments.yaml" in each["text"])
    (check, finding), (plan, _), (test, outcomes) = commands(console)
    labels = {"topology.kubernetes.io/region": "eu-north", "moorage.io/provider": "aws"}
    ours = {"apiVersion": "placement.moorage.io/v1alpha1"}
    cluster = {**ours, "kind": "SyncTarget", "metadata": {"name": "eu-1", "labels": labels}, "spec": {}}
    cart = {"workload": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "cart"}]}
    placement = {
        **ours,
        "kind": "Placement",
        "metadata": {"name": "cart", "labels": {"tier": "payments"}},
        "spec": cart,
    }
    (tmp_path / "clusters.yaml").write_text(yaml.dump(cluster))
    (tmp_path / "cart.yaml").write_text(yaml.dump(placement))
    (tmp_path / "payments.yaml").write_text(
        policy.replace("expression: variables.region", "expression: variables.reigon")
    )
    assert run(check, tmp_path) == finding
    (tmp_path / "payments.yaml").write_text(policy)
    assert "METHOD" in run(plan, tmp_path)
    said = [line.split() for line in run(test, tmp_path).splitlines()]
    assert [line.split() for line in outcomes.splitlines() if line][-1] in said
