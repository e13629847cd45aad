"""The machine that a figure was taken on, and figures as text."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path


def machine() -> str:
    """Processor, cores, memory, system and Python, in one line."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?"
    )
    memory = next((int(line.split()[1]) >> 20 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    load = os.getloadavg()[0]
    return (
        f"{model}, {os.cpu_count()} cores, {memory} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, load {load:.1f} at the start"
    )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def percentile(values: Sequence[float], part: float) -> float:
    """The nearest-rank percentile: the smallest value that `part` (0..1) of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * part // 1).__int__() - 1)]


def spread(values: Sequence[float], unit: str = "ms") -> str:
    """Median, tails and extremes of figures."""
    shown = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
    parts = [f"{name} {percentile(values, part):.1f}" for name, part in shown.items()]
    return f"{', '.join(parts)}, min {min(values):.1f}, max {max(values):.1f} {unit} (n={len(values)})"
