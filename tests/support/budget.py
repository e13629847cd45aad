"""The budget: what placing and removing may cost in requests, messages and writes, and how that is measured.

    python -m tests.support.budget

measures and writes `tests/e2e/budget.toml`. The counts are those of a warm system (its targets are known, and something
of the same workspace was placed in each), with pauses as they are by default, without watches and discovery's probes.
"""

import argparse
import asyncio
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from shared.broker.nats.server import NatsServer
from shared.hub.resources import PLACEMENTS
from tests.support import waiting, worlds
from tests.support.client import if_there
from tests.support.counting import KINDS, Counts, Happened, Meter, metered, typical
from tests.support.together import Together, together, until

FILE = Path(__file__).parents[1] / "e2e" / "budget.toml"
MANY = 4  # targets
RUNS = 3
IDLE_SECONDS = 10.0
NO_PROBES = {"probe_interval_seconds": 600.0, "capacity_interval_seconds": 600.0, "lost_after_seconds": 1800.0}
HEAD = """\
# What each of these costs, as the median of several runs. A test runs them again: where each run costs more than this,
# or each costs less, it fails. So whoever adds a request has to say so here, and what was saved stays saved.
# `python -m tests.support.budget` measures and writes it anew.
"""

ON_THE_WAY = {"status: update placements/status in the hub": 2}
"""More than the budget that removing may cost where it takes its time: then status shows a Placement as Removing, and
once more when the first targets are free of it. On a fast machine it is gone before anybody looks."""

Budget = dict[str, Counts]
"""The counts of each scenario, by its name."""

Runs = Mapping[str, list[Happened]]
"""All runs of each scenario, by its name."""


class Scenarios:
    """What is measured, over a running system; each scenario has all its runs, in the order of the file."""

    def __init__(self, system: Together, meter: Meter) -> None:
        self._system = system
        self._meter = meter
        self._placed = 0
        self.runs: Runs = defaultdict(list)

    async def warm_up(self) -> None:
        """Place something everywhere once, and leave it there."""
        await self._meter.quiet()
        await self._place(MANY)

    async def measure(self, runs: int, idle: float) -> None:
        """Go through all scenarios, each so many times; idle for so many seconds with the placements in place."""
        there: dict[str, list[str]] = {"one target": [], "four targets": []}
        for (title, names), targets in zip(there.items(), (1, MANY), strict=True):
            for _ in range(runs):
                name, happened = await self._place(targets)
                names.append(name)
                self.runs[f"placed in {title}"].append(happened)
        self.runs["idle"].append(await self.idle(idle))
        for title, names in there.items():
            for name in names:
                self.runs[f"removed from {title}"].append(await self._remove(name))

    async def fill(self, number: int) -> None:
        """Place many in one target each, until all are Ready and all is quiet."""
        names = [f"many-{each}" for each in range(number)]
        await asyncio.gather(*(self._system.place(name, worlds.deployment(name)) for name in names))

        async def ready() -> int:
            items = (await self._system.user.list(PLACEMENTS, worlds.NAMESPACE)).items
            return sum((each.get("status") or {}).get("phase") == "Ready" for each in items)

        await waiting.until(ready, "all are Ready", holds=lambda found: found >= number, within=300, pause=1.0)
        await self._meter.quiet()

    async def idle(self, seconds: float) -> Happened:
        """What happens while nothing is asked for."""
        return await self._meter.during(lambda: asyncio.sleep(seconds))

    async def _place(self, targets: int) -> tuple[str, Happened]:
        """Create a Placement; its name, and what happens until it is Ready and all is quiet."""
        self._placed += 1
        name = f"app-{self._placed}"

        async def act() -> None:
            names = [f"cluster-{number:03}" for number in range(targets)]
            wanted = {"names": names, "count": {"min": targets}}
            await self._system.place(name, worlds.deployment(name), targets=wanted)
            await self._system.reaches(name, "Ready")

        return name, await self._meter.during(act)

    async def _remove(self, name: str) -> Happened:
        """Delete a Placement; what happens until it is gone and all is quiet."""
        user = self._system.user

        async def gone() -> bool:
            return await if_there(user.get(PLACEMENTS, name, worlds.NAMESPACE)) is None

        async def act() -> None:
            await user.delete(PLACEMENTS, name, worlds.NAMESPACE)
            await until(gone, f"{name} is gone")

        return await self._meter.during(act)


@asynccontextmanager
async def scenarios(folder: Path, copies: int = 1, **pace: float) -> AsyncIterator[Scenarios]:
    """The scenarios over a warm system with NATS and pauses as by default, with so many copies of each worker."""
    async with NatsServer(folder / "nats") as server:
        world = worlds.world(MANY, delay=0.1)
        async with (
            together(folder / "world", world, pace={**NO_PROBES, **pace}, nats=server.url, copies=copies) as system,
            metered(system.sandbox.tally, server.url) as meter,
        ):
            found = Scenarios(system, meter)
            await found.warm_up()
            yield found


def load() -> Budget:
    """The budget that is stored."""
    found: Budget = tomllib.loads(FILE.read_text())
    return found


def written(budget: Budget) -> str:
    """A budget as the text of its file."""
    lines = [HEAD]
    for scenario, counts in budget.items():
        for kind in KINDS:
            lines.append(f'["{scenario}".{kind}]  # {sum(counts[kind].values())} in all')
            lines += [f'"{name}" = {count}' for name, count in sorted(counts[kind].items())]
            lines.append("")
    return "\n".join(lines)


def differences(budget: Budget, found: Runs) -> list[str]:
    """A line for each count of which every run has more than the budget, or every run less.

    Workers race each other to some steps (who is told first, whether two news become one), so that a count may vary
    from run to run; those that cannot vary have to be as the budget has them. Several targets share reads where they
    are at it together, which a busy machine changes for all runs: of such reads one more or less is let pass. What a
    placement itself reads is the same in one target, where nothing is.
    """
    lines = []
    for scenario, runs in found.items():
        stored = {(kind, name): count for kind, each in budget[scenario].items() for name, count in each.items()}
        for kind, name in sorted(set(stored).union(*runs)):
            counts, wanted = [each[kind, name] for each in runs], stored.get((kind, name), 0)
            slack = 1 if "four" in scenario and (": get " in name or ": list " in name) else 0
            more = slack + (ON_THE_WAY.get(name, 0) if scenario.startswith("removed") else 0)
            if not min(counts) - more <= wanted <= max(counts) + slack:
                lines.append(f"{scenario}, {kind}, {name}: {counts}, not {wanted}")
    return lines


async def measured(copies: int) -> Budget:
    """The counts with so many copies of each worker."""
    with tempfile.TemporaryDirectory() as folder:
        async with scenarios(Path(folder), copies) as found:
            await found.measure(2 * RUNS + 1, IDLE_SECONDS)
            return {scenario: typical(runs) for scenario, runs in found.runs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=1, help="of each worker; of several the counts are only printed")
    copies = parser.parse_args().copies
    text = written(asyncio.run(measured(copies)))
    if copies == 1:
        FILE.write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
