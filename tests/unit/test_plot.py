"""Pictures of figures over time (tests/support/plot.py)."""

from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from tests.support.plot import HEIGHT, LEFT, TOP, WIDTH, Panel, svg

SVG = "{http://www.w3.org/2000/svg}"
FIGURES = st.floats(0, 1e12, allow_nan=False, allow_subnormal=False)


def drawn(picture: str) -> list[list[tuple[float, float]]]:
    """The corners of each line."""
    found = ET.fromstring(picture).findall(f"{SVG}polyline")
    return [[tuple(map(float, each.split(","))) for each in line.get("points", "").split()] for line in found]  # type: ignore[misc] - pairs


@given(st.lists(st.tuples(FIGURES, FIGURES), max_size=20), st.booleans())
def test_every_line_is_drawn_within_its_panel(points: list[tuple[float, float]], steps: bool) -> None:
    (line,) = drawn(svg("title", [Panel("panel", {"line": sorted(points)}, steps)], "seconds"))
    assert len(line) == (2 if steps else 1) * len(points)
    assert all(LEFT - 0.1 <= x <= LEFT + WIDTH + 0.1 and TOP - 0.1 <= y <= TOP + HEIGHT + 0.1 for x, y in line)


def test_a_line_has_the_same_colour_in_every_panel_and_names_are_only_text() -> None:
    panels = [Panel("lag", {"a": [(0, 1)], "<b>&": [(1, 2)]}), Panel("copies", {"<b>&": [(0, 1)]}, steps=True)]
    lines = ET.fromstring(svg("t", panels, "s")).findall(f"{SVG}polyline")
    first, second, again = (each.get("stroke") for each in lines)
    assert first != second == again
    assert [each.text for each in ET.fromstring(svg("t", panels, "s")).findall(f"{SVG}text")].count("<b>&") == 2
