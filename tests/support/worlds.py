"""Worlds and workloads for tests and benchmarks, made by rule."""

from functools import partial
from pathlib import Path
from typing import Any

import yaml

from tests.support import manifests

PLATFORM = "root:platform"
TEAM = "root:team"
USER = "alice"
NAMESPACE = "apps"


def world(targets: int, cpu: str = "1000", regions: int = 4, delay: float = 0.2) -> dict[str, Any]:
    """A world file of `targets` equal clusters in `regions` regions, offered to everybody."""
    return {
        "workspaces": [PLATFORM, TEAM],
        "users": [{"name": USER, "groups": ["team"], "workspaces": {TEAM: "admin", PLATFORM: "none"}}],
        "targets": [
            {
                "name": f"cluster-{number:03}",
                "workspace": PLATFORM,
                "labels": {"topology.kubernetes.io/region": f"region-{number % regions}", "number": str(number)},
                "nodes": 1,
                "capacity": {"cpu": cpu, "memory": "4000Gi", "pods": "5000"},
            }
            for number in range(targets)
        ],
        "delay": delay,
    }


def write_world(path: Path, document: dict[str, Any]) -> Path:
    """A world as the file that `moorage up --world` reads."""
    path.write_text(yaml.safe_dump(document))
    return path


deployment = partial(manifests.deployment, namespace=NAMESPACE, cpu="100m")


def placement(name: str, *, count: int = 1, **spec: Any) -> dict[str, Any]:
    """A Placement of the Deployment of the same name, in at least `count` targets."""
    return manifests.placement(name, namespace=NAMESPACE, **{"targets": {"count": {"min": count}}, **spec})
