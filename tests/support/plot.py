"""Figures over time as an SVG picture: panels below each other, over one axis."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise

import msgspec

WIDTH, HEIGHT = 640, 180  # of what is drawn in a panel, in pixels
LEFT, RIGHT, TOP, BETWEEN, BOTTOM = 60, 130, 40, 45, 45
TICKS = 5
COLOURS = ("#4269d0", "#efb118", "#ff725c", "#3ca951", "#a463f2", "#9c6b4e", "#6cc5b0", "#97bbf5", "#ff8ab7", "#9498a0")

Points = Sequence[tuple[float, float]]


class Panel(msgspec.Struct, frozen=True):
    """What is shown below each other: lines by name, from 0 up. With `steps` a value holds until the next one."""

    title: str
    lines: Mapping[str, Points]
    steps: bool = False


def svg(title: str, panels: Sequence[Panel], below: str) -> str:
    """The picture as text; `below` says what the axis is."""
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}
    most = max((x for panel in panels for points in panel.lines.values() for x, _ in points), default=0) or 1
    width, height = LEFT + WIDTH + RIGHT, TOP + len(panels) * (HEIGHT + BETWEEN) + BOTTOM - BETWEEN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        _text(LEFT, 18, title, size=15),
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, TOP + number * (HEIGHT + BETWEEN), most, colours)
    for tick in _ticks(most):
        parts.append(_text(LEFT + WIDTH * tick / most, height - BOTTOM + 16, f"{tick:g}", anchor="middle"))
    parts.append(_text(LEFT + WIDTH / 2, height - BOTTOM + 34, below, anchor="middle"))
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, top: float, most: float, colours: Mapping[str, str]) -> list[str]:
    highest = max((y for points in panel.lines.values() for _, y in points), default=0) or 1
    ticks = _ticks(highest)
    room = max(highest, ticks[-1])

    def at(x: float, y: float) -> str:
        return f"{LEFT + WIDTH * x / most:.1f},{top + HEIGHT * (1 - y / room):.1f}"

    parts = [_text(LEFT, top - 6, panel.title)]
    for tick in ticks:
        height = top + HEIGHT * (1 - tick / room)
        parts.append(f'<path d="M{LEFT} {height:.1f}h{WIDTH}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 6, height + 4, f"{tick:g}", anchor="end"))
    for number, (name, points) in enumerate(panel.lines.items()):
        drawn = _stepped(points) if panel.steps else points
        line = " ".join(at(x, y) for x, y in drawn)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colours[name]}" stroke-width="2"/>')
        parts.append(_text(LEFT + WIDTH + 10, top + 12 + 16 * number, name, colour=colours[name]))
    return parts


def _stepped(points: Points) -> Points:
    corners = [(x, before) for (_, before), (x, _) in pairwise(points)]
    return [each for pair in zip(points, [*corners, *points[-1:]], strict=True) for each in pair]


def _ticks(most: float) -> list[float]:
    """Round numbers from 0 up to what is shown."""
    rough = most / TICKS
    unit = 10 ** math.floor(math.log10(rough))
    step = next(each for each in (unit, 2 * unit, 5 * unit, 10 * unit) if each >= rough)
    return [step * number for number in range(math.floor(most / step) + 1)]


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", colour: str = "#222") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
    )
