"""docs/clusters.md: the commands of "Try it", as they stand."""

import asyncio
import os
import re
from pathlib import Path

import pytest

from tests.e2e.pages import ROOT, WITHIN
from tests.support.process import BIN, BOUND, process

PAGE = (ROOT / "docs" / "clusters.md").read_text()

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(3 * WITHIN), pytest.mark.xdist_group("pages")]


def commands() -> list[str]:
    """All commands of the section, in order."""
    section = re.search(r"## Try it\n(.*?)\n## ", PAGE, re.DOTALL)
    assert section
    return re.findall(r"^    (.*)$", section[1], re.MULTILINE)


async def test_the_commands_to_try_work_as_they_stand(tmp_path: Path) -> None:
    starting, *typed = commands()
    env = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
    async with process([*starting.split(), "-o", "json"], env, cwd=tmp_path) as running:
        await running.record(lambda record: "kubeconfig" in record, WITHIN)
        async with process(["bash", "-euxc", "\n".join(typed)], env, cwd=tmp_path) as user:
            assert await user.ends(WITHIN) == 0, user.output
        for said in ("west-1 has left", "west-1 has joined", "nothing is placed in root:platform/west-1", "1 revoked"):
            assert said in user.output, user.output
        running.terminate()
        await asyncio.wait_for(running.ends(BOUND), BOUND)
