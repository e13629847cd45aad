"""The metrics of a system at work, drawn as the dashboard draws them: placed, stumbling, refused, and Ready.

    python -m tests.bench.graphs --placements 60 --picture docs/pictures/metrics.svg

Every second `/metrics` of all workers is read as Prometheus would read it. Halfway the targets answer 503 for some
seconds. The lines are drawn by us and not by Prometheus: counters over five seconds, gauges as they are.
"""

import argparse
import asyncio
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from services.sandbox.wire.faults import Fault
from shared.process.metrics import render
from tests.bench.machine import machine
from tests.support import worlds
from tests.support.plot import Panel, svg
from tests.support.together import Together, together
from tests.support.waiting import until

TARGETS, EVERY, WINDOW, BEFORE, AFTER = 6, 1.0, 5, 3, 12  # seconds; the window in looks
STUMBLES, PAUSE, READY_WITHIN = 8.0, 0.3, 120.0

Series = Mapping[tuple[str, str], float]
"""The sums of samples by name of the metric and the value of one label."""


def read(system: Together, label: Mapping[str, str]) -> Series:
    """What all workers show, of these metrics by the label that each is drawn by."""
    page = render([each for running in system.at_work for each in running.runtime.readings])
    found: defaultdict[tuple[str, str], float] = defaultdict(float)
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name in label:
                found[sample.name, sample.labels.get(label[sample.name], "all")] += sample.value
    return found


DRAWN = {
    "moorage_bindings": "phase",
    "moorage_decisions_total": "outcome",
    "moorage_retries_total": "consumer",
    "moorage_placement_ready_seconds_sum": "",
    "moorage_placement_ready_seconds_count": "",
}


async def looks(placements: int) -> list[tuple[float, Series]]:
    """What was shown, each with its second, while placements come, targets stumble and one is refused."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        async with together(Path(folder), worlds.world(TARGETS)) as system:
            began = time.monotonic()

            async def look() -> None:
                while True:
                    found.append((time.monotonic() - began, dict(read(system, DRAWN))))
                    await asyncio.sleep(EVERY)

            looking = asyncio.create_task(look())
            await asyncio.sleep(BEFORE)
            names = [f"web-{number:03}" for number in range(placements)]
            for number, name in enumerate(names):
                if number == placements // 2:
                    system.sandbox.faults.add(Fault(kind="503", cluster="target:*", verb="patch", seconds=STUMBLES))
                    asyncio.get_running_loop().call_later(STUMBLES, system.sandbox.faults.clear)
                await system.place(name, worlds.deployment(name))
                await asyncio.sleep(PAUSE)
            await system.place("huge", worlds.deployment("huge", cpu="5000"))
            await until(
                lambda: found[-1][1].get(("moorage_placement_ready_seconds_count", "all"), 0.0),
                "all are Ready",
                holds=lambda ready: ready >= placements,
                within=READY_WITHIN,
            )
            await asyncio.sleep(AFTER)
            looking.cancel()
    return found


def lines(
    found: Sequence[tuple[float, Series]], metric: str, value: Callable[[int, str], float]
) -> dict[str, list[tuple[float, float]]]:
    """A line for each value of the metric's label that is not 0 throughout."""
    labels = sorted({key[1] for _, series in found for key in series if key[0] == metric})
    drawn = {each: [(second, value(place, each)) for place, (second, _) in enumerate(found)] for each in labels}
    return {each: points for each, points in drawn.items() if any(y for _, y in points)}


def picture(found: Sequence[tuple[float, Series]]) -> str:
    """All of it as an SVG."""

    def gauge(metric: str) -> Callable[[int, str], float]:
        return lambda place, label: found[place][1].get((metric, label), 0.0)

    def grown(metric: str, place: int, label: str) -> float:
        before = found[max(0, place - WINDOW)][1].get((metric, label), 0.0)
        return found[place][1].get((metric, label), 0.0) - before

    def rate(metric: str) -> Callable[[int, str], float]:
        return lambda place, label: (
            grown(metric, place, label) / max(found[place][0] - found[max(0, place - WINDOW)][0], EVERY)
        )

    def mean(place: int, label: str) -> float:
        return grown("moorage_placement_ready_seconds_sum", place, label) / max(
            grown("moorage_placement_ready_seconds_count", place, label), 1.0
        )

    panels = [
        Panel(
            "How placements are in their targets (moorage_bindings)",
            lines(found, "moorage_bindings", gauge("moorage_bindings")),
        ),
        Panel(
            "Decisions a second (moorage_decisions_total)",
            lines(found, "moorage_decisions_total", rate("moorage_decisions_total")),
        ),
        Panel(
            "Messages tried again, a second (moorage_retries_total)",
            lines(found, "moorage_retries_total", rate("moorage_retries_total")),
        ),
        Panel(
            "Seconds to Ready, mean (moorage_placement_ready_seconds)",
            lines(found, "moorage_placement_ready_seconds_count", mean),
        ),
    ]
    return svg("What /metrics says: placements come, and targets stumble", panels, "seconds")


def main() -> None:
    """Run it, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--placements", type=int, default=60)
    parser.add_argument("--picture", type=Path, default=Path("metrics.svg"))
    options = parser.parse_args()
    print(machine())
    found = asyncio.run(looks(options.placements))
    options.picture.write_text(picture(found))
    print(f"{len(found)} looks; {options.picture}")


if __name__ == "__main__":
    main()
