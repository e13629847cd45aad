"""docs/cluster-requests.md: the commands of "Try it", as they stand."""

import re
from pathlib import Path

import pytest

from tests.e2e.pages import ROOT, WITHIN, blocks, typed

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(3 * WITHIN), pytest.mark.xdist_group("pages")]


async def test_the_commands_to_try_work_as_they_stand(tmp_path: Path) -> None:
    section = re.search(r"## Try it\n(.*?)\n## ", (ROOT / "docs/cluster-requests.md").read_text(), re.DOTALL)
    assert section
    starting, *rest = blocks(section[1])
    user = await typed(tmp_path, starting, "".join(rest))
    assert re.search(r"^printer +1 +500m +134217728 +NoFeasibleTarget", user.output, re.MULTILINE)
    assert "a target with cpu 0.5, memory 128Mi, pods 2 free, since " in user.output
    assert "Accepted=True Ordered: in ten minutes" in user.output
    assert re.search(r"^printer .*north-1:2 +Ready", user.output, re.MULTILINE)
