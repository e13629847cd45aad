"""docs/: every page is in the site, which is built strictly; what it says of codes is what there is."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.cli.explaining import page
from services.cli.main import parser
from shared.model.reasons import RefusalCode, RejectionCode

ROOT = Path(__file__).parents[2]
TROUBLE = (ROOT / "docs/troubleshooting.md").read_text()


def section(title: str) -> str:
    found = re.search(rf"## {title}\n(.*?)(?:\n## |\Z)", TROUBLE, re.DOTALL)
    assert found
    return found[1]


def codes(text: str) -> set[str]:
    """What the first column of a table lists."""
    rows = re.findall(r"^\| (?:[A-Za-z]+: )?([A-Z][A-Za-z]+(?:, [A-Z][A-Za-z]+)*) \|", text, re.MULTILINE)
    return {code for row in rows for code in row.split(", ")}


def test_the_site_is_built_with_every_page_in_a_menu_and_no_link_that_leads_nowhere(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "site/tutorial.html").is_file()


def test_the_page_on_trouble_has_every_code_with_what_helps_against_it() -> None:
    assert page.written(TROUBLE) == TROUBLE, "run python -m services.cli.explaining.page"
    for title, all_of in (("Nothing was decided", RefusalCode), ("A target fell out", RejectionCode)):
        assert codes(section(title)) == {code.value for code in all_of}


@pytest.mark.parametrize("title", ["It is decided, but not applied", "A SyncTarget is not Ready"])
def test_each_reason_on_the_page_on_trouble_is_one_that_workers_give(title: str) -> None:
    sources = "\n".join(path.read_text() for path in ROOT.glob("services/**/*.py"))
    assert codes(section(title))
    assert [code for code in codes(section(title)) if f'"{code}"' not in sources] == []


PAGES = sorted([*ROOT.glob("docs/*.md"), ROOT / "README.md"])
COMMAND = re.compile(r"(?:^|[|;&(] *|\$ )(?:[A-Z_]+=\S+ )*(?:kubectl )?moorage (.*)")
"""A call of ours at the beginning of a line, after a prompt, variables, or another command."""
ENDS = re.compile(r"\s(?:\|\|?|>|>>|2>|&&|&)\s|;|\)\"|\)$")
"""What a shell takes for the end of a call."""


def calls(text: str) -> Iterator[list[str]]:
    """The words of each call of `moorage` in the blocks of a page; of a synopsis with all that may be left out."""
    text = text.replace("\\\n", " ")
    blocks = re.findall(r"^(?:    .*\n)+", text, re.MULTILINE)
    blocks += re.findall(r"^```(?:console|sh|bash|shell)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for line in "\n".join(blocks).splitlines():
        for call in COMMAND.findall("" if line.lstrip().startswith("#") else line.strip()):
            whole = ENDS.split(f"{call} ")[0].replace("[", "").replace("]", "")
            yield [re.sub(r"^(\w+)\|[\w|]+$", r"\1", word) for word in shlex.split(whole, comments=True)]


def test_every_command_on_every_page_is_one_that_there_is_with_flags_that_it_has() -> None:
    """What they do is shown by the tests that type them; this finds those that nobody types."""
    whole, wrong, seen = parser(), [], 0
    for path in PAGES:
        for words in calls(path.read_text()):
            seen += 1
            try:
                whole.parse_args([*words[1:], "--help"] if words[:1] == ["help"] else words)
            except SystemExit as ended:
                if ended.code:
                    wrong.append(f"{path.name}: {' '.join(words)}")
    assert wrong == []
    assert seen > 100
