"""docs/overrides.md: the commands of "Try it", as they stand."""

import re
from pathlib import Path

import pytest

from tests.e2e.pages import ROOT, WITHIN, blocks, typed

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(3 * WITHIN), pytest.mark.xdist_group("pages")]


async def test_the_commands_to_try_work_as_they_stand(tmp_path: Path) -> None:
    section = re.search(r"## Try it\n(.*?)\n## ", (ROOT / "docs/overrides.md").read_text(), re.DOTALL)
    assert section
    starting, *rest = blocks(section[1])
    user = await typed(tmp_path, starting, "".join(rest))
    assert re.search(
        r"^exclude-(\S+)-shop-hello is in force: shirin may override these placements", user.output, re.MULTILINE
    )
    assert re.search(r"exclude-\S+-shop-hello: Exclude (\S+), until \S+: its disks are slow", user.output), user.output
    assert re.search(r"1 excluded by override exclude-\S+-shop-hello", user.output), user.output
    assert re.search(r"exclude-\S+-shop-hello: Exclude \S+, InForce, until \S+: its disks are slow", user.output)
    assert "force-shop-hello is in force: shirin may override these placements." in user.lines
    assert "force-shop-hello is taken back" in user.lines
