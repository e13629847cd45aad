"""docs/adr: each decision has a number of its own, which its title says as well."""

from collections import Counter
from pathlib import Path

ADR = Path(__file__).parents[2] / "docs" / "adr"


def test_each_decision_has_a_number_of_its_own_that_its_title_says() -> None:
    numbers = {path: int(path.name[:4]) for path in ADR.glob("[0-9]*.md")}
    assert [number for number, times in Counter(numbers.values()).items() if times > 1] == []
    assert [path.name for path, number in numbers.items() if not path.read_text().startswith(f"# {number}. ")] == []
