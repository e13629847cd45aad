"""docs/security.md names the test that shows each of its lines; all of them are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.findall(r"`(?:[\w/]+\.py::)?(test_\w+)(\.py)?`", (ROOT / "docs" / "security.md").read_text())
FILES = list((ROOT / "tests").rglob("test_*.py"))


def test_every_test_that_the_page_names_is_there():
    tests = {
        name for file in FILES for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    modules = {file.stem for file in FILES}
    assert [name for name, ending in NAMED if name not in (modules if ending else tests)] == []
    assert len(NAMED) > 30
