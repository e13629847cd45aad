"""docs/release.md: its commands as they stand, in a clone; and what they make, made twice."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.pages import ROOT, blocks
from tests.support.process import BIN

WITHIN = 120.0  # seconds
STAMP = BIN.parent / ".up-to-date"

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(6 * WITHIN)]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is committed, with a user of git."""
    folder = tmp_path_factory.mktemp("release") / "moorage"
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True, timeout=WITHIN)
    return folder


def types(clone: Path, commands: str) -> subprocess.CompletedProcess[str]:
    """What a user sees who types this; the environment that is there already is used, whichever clone it is of."""
    make = f'make() {{ command make --no-print-directory --old-file={STAMP} VENV={BIN.parent} "$@"; }}\n'
    return subprocess.run(
        ["bash", "-euc", make + commands],
        cwd=clone,
        env={**os.environ, "HOME": str(clone.parent)},
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=False,
    )


def test_what_the_page_says_makes_signs_and_checks_a_release_which_made_again_has_the_same_bytes(clone: Path) -> None:
    found = types(clone, "\n".join(blocks((clone / "docs/release.md").read_text())))
    assert found.returncode == 0, found.stderr
    assert "Good" in found.stdout
    listed = json.loads((clone / "dist/sbom.cdx.json").read_text())
    locked = re.findall(r"^([\w.-]+)==([^ ;]+)", (clone / "deploy/requirements.lock").read_text(), re.MULTILINE)
    assert {(each["name"], each["version"]) for each in listed["components"]} == set(locked)
    again = types(clone, "make release DIST=build/again")
    assert again.stdout == (clone / "dist/SHA256SUMS").read_text()
    assert len(again.stdout.splitlines()) == 3


def test_what_is_not_committed_is_not_released(clone: Path) -> None:
    (clone / "stray.txt").write_text("a change")
    try:
        found = types(clone, "make release DIST=build/three")
    finally:
        (clone / "stray.txt").unlink()
    assert found.returncode == 2
    assert "commit first" in found.stderr
    assert not (clone / "build/three").exists()
