"""A user at a terminal who types what a page says, in a folder with nothing but the examples."""

import asyncio
import os
import re
from pathlib import Path

from tests.support.process import BIN, BOUND, Process, process

ROOT = Path(__file__).parents[2]
WITHIN = 360.0  # seconds that the commands of a user may take, on a busy machine


def blocks(page: str) -> list[str]:
    """The blocks of commands of a page, or of a section of one."""
    return [
        re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in re.findall(r"^(?:    .*\n)+", page, re.MULTILINE)
    ]


async def typed(folder: Path, starting: str, commands: str, within: float = WITHIN) -> Process:
    """What was printed by `commands`, all of which end well, while the last line of `starting` runs."""
    (folder / "examples").symlink_to(ROOT / "examples")
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(folder)}
    env["MOORAGE_CONTEXTS"] = str(folder / "contexts.json")
    up = starting.strip().splitlines()[-1]
    async with process([*up.split(), "-o", "json"], env, cwd=folder) as running:
        await running.record(lambda record: "kubeconfig" in record, WITHIN)
        async with process(["bash", "-euc", commands], env, cwd=folder) as user:
            async with asyncio.timeout(within):
                assert await user.child.wait() == 0, user.output
            await user.ends()
        running.terminate()
        async with asyncio.timeout(BOUND):
            assert await running.ends() == 0, running.output
    return user
