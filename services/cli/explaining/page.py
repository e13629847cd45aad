"""The tables of reasons in docs/troubleshooting.md: `python -m services.cli.explaining.page` writes them, from what
codes mean (shared/model/reasons.py) and what helps against them (remedies.py)."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from services.cli.explaining.remedies import OF_REFUSALS, OF_REJECTIONS
from shared.model.reasons import RefusalCode, RejectionCode

PAGE: Final = Path(__file__).parents[3] / "docs" / "troubleshooting.md"
READ_ON: Final[Mapping[str, str]] = {
    RejectionCode.NOT_AUTHORIZED: "security.md",
    RejectionCode.NOT_READY: "#a-synctarget-is-not-ready",
    RejectionCode.POLICY_ERROR: "policy.md",
    RejectionCode.NAMESPACE_CLAIMED: "target-owners.md#whose-a-namespace-is",
    RejectionCode.KIND_NOT_ALLOWED: "target-owners.md#kinds-that-give-rights",
    RefusalCode.NO_FEASIBLE_TARGET: "#a-target-fell-out",
    RefusalCode.UNKNOWN_SCORER: "scheduler.md",
}
"""Where on the pages there is more, by code."""
HEADER: Final = ["| code | means | what helps |", "|---|---|---|"]


def written(text: str) -> str:
    """The page with the tables as they are to be, each between a mark that names it and the next that ends it."""
    for name, table in (
        ("refusals", _table(RefusalCode, OF_REFUSALS)),
        ("rejections", _table(RejectionCode, OF_REJECTIONS)),
    ):
        before, begin, rest = text.partition(f"<!-- generated: {name} -->\n")
        _, end, after = rest.partition(f"<!-- end of {name} -->")
        text = f"{before}{begin}\n{table}\n{end}{after}"
    return text


def _table(codes: Iterable[RefusalCode | RejectionCode], helps: Mapping[str, str]) -> str:
    rows = [f"| {code.value} | {code.description} | {_linked(code, helps[code])} |" for code in codes]
    return "".join(f"{row}\n" for row in (*HEADER, *rows))


def _linked(code: str, words: str) -> str:
    return f"[{words}]({READ_ON[code]})" if code in READ_ON else words


def main() -> None:
    """Write the page; the same codes and remedies give the same bytes."""
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
