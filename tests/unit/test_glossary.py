"""The glossary names things where they are, and no two things of ours share a name."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in GLOSSARY.splitlines() if line.startswith("| ")
]
NAMED = [
    (name, file)
    for row in ROWS
    for name, file in re.findall(r"`([A-Za-z_]+)` in ((?:shared|services)/[\w/]+\.py)", row[-1])
]
FILES = sorted(set(re.findall(r"(?:shared|services)/[\w/]+\.py", GLOSSARY)))


def classes(path: Path) -> Iterator[str]:
    yield from (node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef))


def test_no_word_stands_twice():
    words = [row[0] for row in ROWS if row[0] != "word" and not row[0].startswith("---")]
    assert len(words) == len(set(words))
    assert len(words) > 40


@pytest.mark.parametrize("file", FILES)
def test_what_the_glossary_points_at_is_there(file: str):
    assert (ROOT / file).is_file()


@pytest.mark.parametrize(("name", "file"), NAMED)
def test_a_name_is_defined_where_the_glossary_says(name: str, file: str):
    tree = ast.parse((ROOT / file).read_text())
    assigned = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    defined = {
        node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
    }
    assert name in assigned | defined


def test_a_class_of_the_glossary_shares_its_name_with_no_other():
    """The sandbox plays another system, and the API's types are what users write: both have words of their own."""
    given = {name for name, _ in NAMED if not name.isupper()}
    homes: dict[str, set[str]] = defaultdict(set)
    for path in [*(ROOT / "services").rglob("*.py"), *(ROOT / "shared").rglob("*.py")]:
        file = path.relative_to(ROOT).as_posix()
        if not file.startswith(("services/sandbox/", "shared/api/")):
            for name in given.intersection(classes(path)):
                homes[name].add(file)
    assert {name: sorted(files) for name, files in homes.items() if len(files) > 1} == {}
