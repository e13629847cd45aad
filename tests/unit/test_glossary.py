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
SOURCES = [
    path
    for path in sorted([*(ROOT / "services").rglob("*.py"), *(ROOT / "shared").rglob("*.py")])
    if not path.relative_to(ROOT).as_posix().startswith(("services/sandbox/", "shared/api/"))
]
"""The sandbox plays another system, and the API's types are what users write: both have words of their own."""
FILES = sorted(set(re.findall(r"(?:shared|services)/[\w/]+\.py", GLOSSARY)))


def classes(path: Path) -> Iterator[str]:
    """The classes of a module, and its closed sets of words, but for what only the module itself sees."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name
        elif isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("Literal["):
            yield from (each.id for each in node.targets if isinstance(each, ast.Name) and not each.id.startswith("_"))


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


def test_no_two_classes_share_a_name():
    homes: dict[str, list[str]] = defaultdict(list)
    for path in SOURCES:
        for name in classes(path):
            homes[name].append(path.relative_to(ROOT).as_posix())
    assert {name: files for name, files in homes.items() if len(files) > 1} == {}


RETIRED = {
    r"(?i)\bverdicts?\b": "permission, judgement, exclusion or assess",
    r"\bBus:<|[\"']Bus:": "Plugin:<name>",
    r"\b(Outside|OutsideScore)\b|(filter|scorer|plugin)s? outside\b": "plugin, CustomScore",
    r"(?i)\bunsettled_seconds\b": "in_place_seconds",
    r"(?i)\b(un)?settl(e|ed|es|ing)\b.{0,40}deliver|\bunsettled\b": "answer a delivery; settle is what decision does",
    r"\bRound\(|\bround_of\b": "Candidates",
    r"\bclosed_until\b": "open_until: a circuit that lets nothing through is open",
}
"""What is not said any more, and what is said in its place."""


@pytest.mark.parametrize("retired", RETIRED)
def test_what_is_not_said_any_more_does_not_come_back(retired: str):
    texts = [*SOURCES, *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.yaml"), ROOT / "README.md"]
    found = [path.relative_to(ROOT).as_posix() for path in texts if re.search(retired, path.read_text())]
    assert found == [], f"say {RETIRED[retired]}"
