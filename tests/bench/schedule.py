"""CPU time of one `moorage schedule` over a thousand placements and a hundred targets, the whole process.

    python -m tests.bench.schedule [--rounds 5] [--placements 1000]

Each placement has a Deployment that requests other amounts than all others. `plain` takes the best target; `everything`
has a selector, a preference, a spread over regions and replicas that are divided among two to four targets. From JSON
and written as JSON, 100 scores for each placement; user and system time of the process, its start with it. Code that is
not compiled yet takes a second more (`make setup` compiles it).
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Any

REGION = "topology.kubernetes.io/region"
EVERYTHING = {
    "targets": {
        "selector": {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["gold", "silver"]}]},
        "count": {"min": 2, "max": 4},
    },
    "spread": [{"topologyKey": REGION, "maxSkew": 1}],
    "affinity": {
        "preferred": [{"weight": 50, "matchExpressions": [{"key": "tier", "operator": "In", "values": ["gold"]}]}]
    },
    "replicas": {"division": "Dynamic"},
}
GOAL_SECONDS = 1.0
API_VERSION = "placement.moorage.io/v1alpha1"


def targets(many: int = 100) -> list[dict[str, Any]]:
    """SyncTargets of varied capacity."""
    random = Random(many)
    return [
        {
            "apiVersion": API_VERSION,
            "kind": "SyncTarget",
            "metadata": {
                "name": f"cluster-{number:03}",
                "labels": {REGION: f"region-{number % 7}", "tier": random.choice(["gold", "silver", "bronze"])},
            },
            "spec": {},
            "status": {
                "allocatable": {
                    "cpu": str(random.randint(64, 512)),
                    "memory": f"{random.randint(256, 2048)}Gi",
                    "pods": "5000",
                }
            },
        }
        for number in range(many)
    ]


def placements(many: int, spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Placements, each with its Deployment."""
    random, found = Random(many), []
    for number in range(many):
        metadata = {"name": f"app-{number}", "namespace": "shop"}
        named = {"apiVersion": "apps/v1", "kind": "Deployment", "name": metadata["name"]}
        amounts = {"cpu": f"{100 + number}m", "memory": f"{64 + number}Mi"}
        container = {"name": "main", "image": "registry.example/app:1", "resources": {"requests": amounts}}
        labels = {"app": metadata["name"]}
        found += [
            {
                "apiVersion": API_VERSION,
                "kind": "Placement",
                "metadata": metadata,
                "spec": {"workload": [named], **spec},
            },
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": metadata,
                "spec": {
                    "replicas": random.randint(4, 16),
                    "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
                },
            },
        ]
    return found


def cpu_seconds(folder: Path) -> float:
    """User and system time of one call on the files of a folder."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    files = ["--targets", str(folder / "targets.json"), "--placement", str(folder / "placements.json")]
    program = "from services.cli.main import main; main()"
    subprocess.run(
        [sys.executable, "-c", program, "schedule", *files, "-o", "json"],
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=300,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print a line for each kind of placement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="calls of each kind")
    parser.add_argument("--placements", type=int, default=1000)
    args = parser.parse_args()
    for name, spec in (("plain", {}), ("everything", EVERYTHING)):
        with tempfile.TemporaryDirectory() as home:
            folder = Path(home)
            (folder / "targets.json").write_text("\n".join(map(json.dumps, targets())))
            (folder / "placements.json").write_text("\n".join(map(json.dumps, placements(args.placements, spec))))
            taken = [cpu_seconds(folder) for _ in range(args.rounds)]
        print(
            f"{args.placements} placements, {name}: median {statistics.median(taken):.2f}, fastest {min(taken):.2f} s "
            f"of CPU (goal {GOAL_SECONDS:g} for 1000)",
            flush=True,
        )


if __name__ == "__main__":
    main()
