"""Processor time of commands, each as a process of its own: what waits for whoever types them.

    python -m tests.bench.commands [--rounds 5]

The help of every command; `moorage explain` over 10,000 targets, and `moorage plan` of a region that is lost with 1,000
placements in it, both from files. The fastest of some rounds, as the kernel counts it, all threads together.
"""

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from services.cli.main import leaves, parser
from tests.bench.machine import machine
from tests.support.process import BIN

HELP_GOAL, EXPLAIN_GOAL, PLAN_GOAL = 0.1, 1.0, 5.0  # seconds
REGION, ZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone"
OURS = {"apiVersion": "placement.moorage.io/v1alpha1"}
Object = Mapping[str, Any]


def target(number: int, targets: int) -> Object:
    """One of ten regions; some are tainted, some not Ready, some too small."""
    region = number * 10 // targets
    amounts = {"cpu": str(4 + number % 60), "memory": f"{16 + number % 200}Gi", "pods": "500"}
    taints = [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}] if number % 7 == 3 else []
    ready = {
        "type": "Ready",
        "status": "True" if number % 11 else "False",
        "lastTransitionTime": "2026-11-29T00:00:00Z",
    }
    labels = {REGION: f"r{region}", ZONE: f"r{region}-{number % 3}", "tier": "gold" if number % 3 else "silver"}
    return {
        **OURS,
        "kind": "SyncTarget",
        "metadata": {"name": f"t-{number:05}", "uid": f"u-{number}", "labels": labels},
        "spec": {"taints": taints},
        "status": {"conditions": [ready], "capacity": amounts, "allocatable": amounts},
    }


def placed(name: str, cpu: str, targets: Iterable[str] = (), **spec: Any) -> list[Object]:
    """A Placement with its Deployment, and where it was decided, if it was."""
    workload = [{"apiVersion": "apps/v1", "kind": "Deployment", "name": name}]
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu, "memory": "64Mi"}}}
    pods = {"replicas": 2, "template": {"spec": {"containers": [container]}}}
    objects: list[Object] = [
        {**OURS, "kind": "Placement", "metadata": {"name": name}, "spec": {"workload": workload, **spec}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": pods},
    ]
    selected = [{"target": {"name": each}, "replicas": 2, "reserved": {"pods": 2.0}} for each in targets]
    if selected:
        status = {"attempt": 1, "selected": selected}
        objects.append({**OURS, "kind": "PlacementDecision", "metadata": {"name": name}, "status": status})
    return objects


def seconds(rounds: int, *argv: str) -> float:
    """The least processor time of several runs. Raises RuntimeError where one ends as a mistake does."""
    found = []
    for _ in range(rounds):
        child = subprocess.Popen((str(BIN / "moorage"), *argv), stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode not in (0, 3):
            raise RuntimeError(f"moorage {' '.join(argv)} ended with {child.returncode}")
        found.append(used.ru_utime + used.ru_stime)
    return min(found)


def main() -> None:
    """Print the figures, with their goals."""
    options = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    options.add_argument("--rounds", type=int, default=5, help="runs of each; the fastest counts (default: 5)")
    rounds = options.parse_args().rounds
    print(machine())
    names = ["", *(name.strip() for name, _ in leaves(parser(), ""))]
    helps = sorted(((seconds(rounds, *name.split(), "--help"), name) for name in names), reverse=True)
    print(f"\nhelp of {len(helps)} commands, s of processor time (goal: each under {HELP_GOAL})")
    for taken, name in (*helps[:5], helps[-1]):
        print(f"  {taken:.3f}  moorage {name} --help".replace("  --help", " --help"))
    with tempfile.TemporaryDirectory() as folder:
        many, lost, one = (Path(folder, f"{name}.json") for name in ("many", "lost", "one"))
        many.write_text(listed(target(number, 10_000) for number in range(10_000)))
        one.write_text(listed(placed("web", "3", strategy={"type": "Spread", "count": {"min": 3, "max": 3}})))
        taken = seconds(rounds, "explain", "-f", str(many), "-f", str(one))
        print(f"\nexplain over 10,000 targets: {taken:.2f} s of processor time (goal: under {EXPLAIN_GOAL:g})")
        content = [target(number, 100) for number in range(100)]
        roomy = [
            each["metadata"]["name"] for each in content[:10] if each["status"]["conditions"][0]["status"] == "True"
        ]
        for number in range(1000):
            content += placed(f"p-{number:04}", "10m", (roomy[number % len(roomy)],))
        lost.write_text(listed(content))
        taken = seconds(rounds, "plan", "--lost", "region=r0", "--no-brake", "--against", str(lost))
        print(f"plan for a lost region with 1,000 placements: {taken:.2f} s (goal: under {PLAN_GOAL:g})")


def listed(objects: Iterable[Object]) -> str:
    """As `kubectl get -o json` prints them."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})


if __name__ == "__main__":
    main()
