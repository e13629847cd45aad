"""docs/pull.md: the commands of "Try it", as they stand."""

import re
from pathlib import Path

import pytest

from tests.e2e.pages import ROOT, WITHIN, blocks, typed

PAGE = (ROOT / "docs" / "pull.md").read_text()

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(3 * WITHIN), pytest.mark.xdist_group("pages")]


async def test_the_commands_to_try_work_as_they_stand(tmp_path: Path) -> None:
    section = re.search(r"## Try it\n(.*?)\n## ", PAGE, re.DOTALL)
    assert section
    starting, *commands = blocks(section[1])
    user = await typed(tmp_path, starting, "".join(commands))
    for said in ("west-1 has left", "its tunnel is", "west-1 has joined", "no agent of this target", "ready       yes"):
        assert said in user.output, user.output
