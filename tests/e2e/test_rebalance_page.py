"""docs/rebalance.md: the commands of "Try it", as they stand."""

import re
from pathlib import Path

import pytest

from tests.e2e.pages import ROOT, WITHIN, blocks, typed

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(3 * WITHIN), pytest.mark.xdist_group("pages")]


async def test_the_commands_to_try_work_as_they_stand(tmp_path: Path) -> None:
    section = re.search(r"## Try it\n(.*?)\n## ", (ROOT / "docs/rebalance.md").read_text(), re.DOTALL)
    assert section
    starting, *rest = blocks(section[1])
    user = await typed(tmp_path, starting, "".join(rest))
    before = r"root:platform/(?:north|west)-1×2"
    assert re.search(rf"^root:team-a/shop/kiosk +Moves +{before} +root:platform/east-1×2", user.output, re.MULTILINE)
    assert re.search(rf"^shop/kiosk: from {before} to root:platform/east-1×2$", user.output, re.MULTILINE)
