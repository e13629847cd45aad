"""What is released runs outside of the repository: the wheel alone, unpacked, in a folder with nothing in it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.process import BIN, process

ROOT = Path(__file__).parents[2]
WITHIN = 120.0  # seconds
MOORAGE = (sys.executable, "-c", "from services.cli.main import main; main()")
"""The console script."""

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(2 * WITHIN + 60), pytest.mark.xdist_group("pages")]


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the wheel installs."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [BIN / "uv", "build", "--wheel", "--quiet", "--build-constraints", ROOT / "deploy/build.lock"]
    built = subprocess.run(
        [*build, "--out-dir", folder, ROOT], capture_output=True, text=True, timeout=WITHIN, check=False
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(folder / "site")
    return folder / "site"


def environment(released: Path) -> dict[str, str]:
    """The packages of this Python, with Moorage from the wheel before all."""
    return {**os.environ, "PYTHONPATH": str(released), "NO_COLOR": "1"}


async def test_the_demo_runs_from_a_wheel_in_an_empty_folder(released: Path, tmp_path: Path) -> None:
    env = {**environment(released), "HOME": str(tmp_path)}
    async with process([*MOORAGE, "demo"], env, cwd=tmp_path) as demo:
        assert await demo.ends(WITHIN) == 0, demo.output
    assert "everything is stopped" in demo.output


def test_the_examples_of_a_wheel_are_those_of_the_repository(released: Path, tmp_path: Path) -> None:
    command = [*MOORAGE, "examples"]
    env = environment(released)
    for code in (0, 2):  # at first, and where they are already
        found = subprocess.run(
            command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=WITHIN, check=False
        )
        assert found.returncode == code, found.stderr
    assert "is there already" in found.stderr
    for path in (ROOT / "examples").rglob("*.yaml"):
        assert (tmp_path / path.relative_to(ROOT)).read_text() == path.read_text()
