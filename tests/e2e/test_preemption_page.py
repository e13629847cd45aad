"""docs/preemption.md: the commands of "Try it", as they stand."""

import re
from pathlib import Path

import pytest

from tests.e2e.pages import ROOT, WITHIN, blocks, typed

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(3 * WITHIN), pytest.mark.xdist_group("pages")]


async def test_the_commands_to_try_work_as_they_stand(tmp_path: Path) -> None:
    section = re.search(r"## Try it\n(.*?)\n## ", (ROOT / "docs/preemption.md").read_text(), re.DOTALL)
    assert section
    starting, *rest = blocks(section[1])
    user = await typed(tmp_path, starting, "".join(rest))
    assert re.search(r"It has to leave east-1 for placement till, of higher priority\.", user.output), user.output
    assert "east-1 → nowhere  (Preempted: root:platform/east-1 for placement till)" in user.output
