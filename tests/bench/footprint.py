"""What a worker costs before it does anything: the time that its import takes, and its memory when idle.

    python -m tests.bench.footprint

Import: processor time, the median of several fresh processes, without the start of the interpreter.
Memory: resident, of each worker of `moorage up` over a small world, once all are ready.
"""

import argparse
import asyncio
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from services import PIPELINE
from services.cli.support.plan import Plan
from services.cli.support.system import up
from tests.bench.machine import machine

RUNS = 7


def import_seconds(module: str) -> float:
    """Seconds of processor time that importing a module takes in a fresh process."""
    code = f"import time; t = time.process_time(); import {module}; print(time.process_time() - t)"
    runs = [
        float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60).stdout)
        for _ in range(RUNS)
    ]
    return statistics.median(runs)


async def idle_memory() -> dict[str, float]:
    """Megabytes that each worker holds when it is ready and has nothing to do."""
    with tempfile.TemporaryDirectory() as folder:
        async with up(Plan(data=Path(folder)), say=lambda _: None) as running:
            return {name: _resident(pid) for name, pid in running.place.pids.items()}


def _resident(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(f"machine: {machine()}")
    started = time.perf_counter()
    memory = asyncio.run(idle_memory())
    print(f"moorage up was ready and ended within {time.perf_counter() - started:.1f} s")
    for name in PIPELINE:
        print(f"{name:<12} import {import_seconds(f'services.{name}.worker'):.3f} s   idle {memory[name]:6.1f} MB")
    print(f"{'sandbox':<12} {'':<16} idle {memory['sandbox']:6.1f} MB")


if __name__ == "__main__":
    main()
