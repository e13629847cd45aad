"""MkDocs hooks: what only the site needs of the pages.

Links to files of the repository that are no pages become their names, and the page of decisions lists them.
"""

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|#)([^)#\s]+)(#[^)]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """The page with each link out of docs/, or to what is no page there, as its text and the file's path.

    What does not exist stays a link, so that MkDocs complains.
    """

    def shown(link: re.Match[str]) -> str:
        text, path = link[1], (DOCS / page.file.src_path).parent / link[2]
        if path.is_relative_to(DOCS) and ".." not in path.parts and path.suffix == ".md":
            return link[0]
        found = path.resolve()
        if not found.exists() or (found.is_relative_to(DOCS) and found.is_file()):
            return link[0]
        name = str(found.relative_to(DOCS.parent))
        return f"`{name}`" if text.strip("`") in (name, found.name) else f"{text} (`{name}`)"

    listed = "".join(f"- [{_title(path)}]({path.name})\n" for path in sorted(DOCS.glob("adr/[0-9]*.md")))
    return LINK.sub(shown, markdown) + (f"\n{listed}" if page.file.src_path == "adr/index.md" else "")


def _title(path: Path) -> str:
    return path.read_text().partition("\n")[0].removeprefix("# ")
