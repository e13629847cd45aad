"""The commands of the README's "Try it yourself", run in its order, in a folder with nothing but the examples."""

import asyncio
import os
import re
from pathlib import Path

import pytest

from tests.support.process import BIN, BOUND, process

ROOT = Path(__file__).parents[2]
WITHIN = 90.0  # seconds that the commands of a user may take

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(WITHIN + 60), pytest.mark.xdist_group("e2e")]


def commands() -> tuple[str, ...]:
    """The blocks of commands of that section."""
    section = re.search(r"## Try it yourself\n(.*?)\n## ", (ROOT / "README.md").read_text(), re.DOTALL)
    assert section
    return tuple(re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in re.findall(r"(?:    .*\n)+", section[1]))


async def test_what_the_readme_says_works_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    starting, using, offline = commands()
    up = starting.strip().splitlines()[-1]
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    async with process([*up.split(), "-o", "json"], env, cwd=tmp_path) as running:
        await running.record(lambda record: "kubeconfig" in record)
        async with process(["bash", "-euc", using + offline], env, cwd=tmp_path) as user:
            async with asyncio.timeout(WITHIN):
                assert await user.child.wait() == 0, user.output
            await user.ends()
        running.terminate()
        async with asyncio.timeout(BOUND):
            assert await running.ends() == 0, running.output
    for placement in ("backend", "background", "payments", "storefront"):
        assert f"placement.placement.moorage.io/{placement} condition met" in user.lines
        assert re.search(rf"^shop/{placement}  \w+$", user.output, re.MULTILINE), user.output
    assert "no findings" in user.lines
