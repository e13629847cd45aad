"""What scales workers by lag: what a message costs each of them, and a burst with the autoscaler at work, as a picture.

    python -m tests.bench.autoscaling --placements 300 --picture docs/pictures/autoscaling.svg

First a burst with one copy of each worker: processor time for each message, and what a copy is given by the chart's
thresholds. Then one with API servers that answer late, and as many copies as the chart's thresholds ask for.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench.load import cpu_seconds
from tests.bench.machine import machine
from tests.e2e.scaling import ACCOUNT, SCALED, Autoscaler, Sample, scaled_system, wave
from tests.support.plot import Panel, svg

TARGETS = 20


async def costs(placements: int) -> None:
    """What one copy of each worker needs for a message."""
    with tempfile.TemporaryDirectory() as folder:
        async with scaled_system(Path(folder), targets=TARGETS, most=1, fault={"seconds": 0}) as (system, scaler):
            children = system.running.children
            before = {name: cpu_seconds(children[name].pid or 0) for name in SCALED}
            handled = await _handled(scaler)
            await wave(system, scaler, placements, pause=0.5)
            after = await _handled(scaler)
            print("one copy of each: processor time for a message, and for as many as the chart gives a copy")
            for name in SCALED:
                seconds, count = cpu_seconds(children[name].pid or 0) - before[name], after[name] - handled[name]
                threshold, each = scaler.scalings[name].threshold, seconds / count
                print(f"  {name}: {count} messages, {1000 * each:.2f} ms each; {threshold}: {threshold * each:.1f} s")


async def _handled(scaler: Autoscaler) -> dict[str, int]:
    """How many messages each worker was given so far."""
    found = dict.fromkeys(SCALED, 0)
    for account in (await scaler.monitored())["account_details"]:
        consumers = [each for stream in account["stream_detail"] for each in stream.get("consumer_detail") or ()]
        for each in consumers if account["name"] == ACCOUNT else ():
            worker = each["name"].partition("-")[0]
            if worker in found:
                found[worker] += each["delivered"]["consumer_seq"]
    return found


async def burst(placements: int, most: int, late: float) -> Sequence[Sample]:
    """What the autoscaler saw and did."""
    with tempfile.TemporaryDirectory() as folder:
        async with scaled_system(Path(folder), targets=TARGETS, most=most, fault={"seconds": late}) as (system, scaler):
            names = await wave(system, scaler, placements, pause=1.0)
            print(f"{len(names)} Ready after {len(scaler.samples)} looks; ended: {scaler.ended}")
            return scaler.samples


def picture(samples: Sequence[Sample]) -> str:
    """Lag, copies and what is Ready over time, as SVG; without workers for which nothing ever waited."""
    shown = [name for name in SCALED if max(each.lags[name] for each in samples) > len(SCALED)]
    grown = [name for name in shown if max(each.copies[name] for each in samples) > 1]
    return svg(
        "A burst, and copies by lag",
        [
            Panel("messages that wait or are in hand", {n: [(s.at, s.lags[n]) for s in samples] for n in shown}),
            Panel("copies", {n: [(s.at, s.copies[n]) for s in samples] for n in grown}, steps=True),
            Panel("placements that are Ready", {"Ready": [(s.at, s.ready) for s in samples]}),
        ],
        "seconds of the autoscaler, which looks every 15",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--placements", type=int, default=300)
    parser.add_argument("--most", type=int, default=5, help="copies of each worker")
    parser.add_argument("--late", type=float, default=300, help="milliseconds by which API servers answer late")
    parser.add_argument("--picture", type=Path, help="the SVG file to write")
    args = parser.parse_args()
    print(f"machine: {machine()}", flush=True)
    asyncio.run(costs(args.placements))
    samples = asyncio.run(burst(args.placements, args.most, args.late / 1000))
    if args.picture:
        args.picture.parent.mkdir(exist_ok=True)
        args.picture.write_text(picture(samples), encoding="utf-8")


if __name__ == "__main__":
    main()
