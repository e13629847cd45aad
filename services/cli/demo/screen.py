"""Text to a terminal, part of which is redrawn while things change, or as plain lines where there is no terminal."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from services.cli.demo import render
from services.cli.demo.picture import DemoPicture
from shared.model.refs import PlacementRef


class Screen:
    """Where the demo is shown. Without a terminal nothing is redrawn: each change is a line of its own."""

    def __init__(
        self, console: Console | None = None, *, color: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`color` False takes colour from a terminal too; NO_COLOR in the environment does so in any case."""
        self._console = console or Console(no_color=None if color else True, highlight=False)
        self._clock = clock
        self._began = clock()
        self._live: Live | None = None
        self._shown: dict[PlacementRef | None, str] = {}  # what is on the screen; None: the stages

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return self._clock() - self._began

    def title(self, text: str) -> None:
        """What comes next."""
        self.print([Text(), Text(f"[{self.elapsed:5.1f} s] {text}", "bold")])

    def print(self, lines: Iterable[Text]) -> None:
        """Lines that stay."""
        for line in lines:
            self._console.print(line, soft_wrap=True)

    def note(self, text: str) -> None:
        """Something that happened beside the story."""
        self.print([Text(f"  {text}", "yellow")])

    def step(self, text: str) -> None:
        """How far starting is."""
        self.print([Text(f"  {self.elapsed:5.1f} s  {text}", "dim")])

    @contextmanager
    def following(self) -> Iterator[None]:
        """Within the block, `show` keeps what it shows up to date, in place where there is a terminal."""
        if not self._console.is_terminal:
            yield
            return
        with Live(console=self._console, auto_refresh=False) as live:
            self._live, self._shown = live, {}
            try:
                yield
            finally:
                self._live = None

    def show(self, picture: DemoPicture) -> None:
        """Every placement with how far it is: all of them in place, or those that changed as lines."""
        lines: dict[PlacementRef | None, Text] = {ref: render.headline(picture, ref) for ref in sorted(picture.created)}
        if self._live is not None:
            lines = {None: render.stages(picture), **lines}
        changed = {key: line for key, line in lines.items() if self._shown.get(key) != line.plain}
        self._shown = {key: line.plain for key, line in lines.items()}
        if self._live is None:
            self.print(changed.values())
        elif changed:
            self._live.update(Group(*lines.values()), refresh=True)
