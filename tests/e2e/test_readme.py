"""The commands of the README's "Try it yourself" and of docs/tutorial.md, run in their order."""

import re
from pathlib import Path

import pytest

from tests.e2e.pages import ROOT, WITHIN, blocks, typed

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(3 * WITHIN), pytest.mark.xdist_group("pages")]


async def test_what_the_readme_says_works_as_it_stands(tmp_path: Path) -> None:
    section = re.search(r"## Try it yourself\n(.*?)\n## ", (ROOT / "README.md").read_text(), re.DOTALL)
    assert section
    starting, *rest = blocks(section[1])
    user = await typed(tmp_path, starting, "".join(rest))
    for placement in ("backend", "background", "payments", "storefront"):
        assert f"placement.placement.moorage.io/{placement} condition met" in user.lines
        assert re.search(rf"^shop/{placement}  \w+$", user.output, re.MULTILINE), user.output
    assert "no findings" in user.lines


async def test_the_commands_of_the_page_on_contexts_work_as_they_stand(tmp_path: Path) -> None:
    starting, *rest = blocks((ROOT / "docs/contexts.md").read_text())
    user = await typed(tmp_path, starting, "".join(rest))
    assert user.output.count("west-1") == 2, user.output
    assert "workspace: root:platform" in user.lines


async def test_the_commands_of_the_tutorial_work_as_they_stand(tmp_path: Path) -> None:
    starting, *rest = blocks((ROOT / "docs/tutorial.md").read_text())
    user = await typed(tmp_path, starting, "".join(rest))
    assert re.search(r"Spread chose .* out of . feasible of 8 targets", user.output), user.output
    assert re.search(r"9 targets are wanted, \d fit; \d/8 targets: .*not matching the selector", user.output), (
        user.output
    )
    assert 'deployment.apps "hello" deleted' in user.output
