"""docs/rollout.md: the commands of "Try it", as they stand."""

import re
from itertools import groupby
from pathlib import Path

import pytest

from tests.e2e.pages import ROOT, WITHIN, blocks, typed

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(3 * WITHIN), pytest.mark.xdist_group("pages")]


async def test_the_commands_to_try_work_as_they_stand(tmp_path: Path) -> None:
    section = re.search(r"## Try it\n(.*?)\n## ", (ROOT / "docs/rollout.md").read_text(), re.DOTALL)
    assert section
    starting, *rest = blocks(section[1])
    user = await typed(tmp_path, starting, "".join(rest))
    said = list(re.findall(r"^shop/greeter: revision \S+ is (\w+)\.", user.output, re.MULTILINE))
    assert said[0] == "Complete", user.output
    seen = [state for state, _ in groupby(each for each in said if each != "Progressing")]
    assert seen == ["Complete", "AwaitsApproval", "Complete", "Failed", "Paused", "Complete"], user.output
