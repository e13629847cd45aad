"""Worlds and workloads for tests and benchmarks, made by rule."""

from pathlib import Path
from typing import Any

import yaml

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


def deployment(name: str, *, cpu: str = "100m", replicas: int = 1, namespace: str = NAMESPACE) -> dict[str, Any]:
    """A Deployment of one container."""
    labels = {"app": name}
    container = {"name": "main", "image": "nginx:1.29", "resources": {"requests": {"cpu": cpu, "memory": "64Mi"}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def placement(name: str, *, count: int = 1, namespace: str = NAMESPACE, **spec: Any) -> dict[str, Any]:
    """A Placement of the Deployment of the same name."""
    return {
        "apiVersion": "placement.moorage.io/v1alpha1",
        "kind": "Placement",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "workload": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": name}],
            "targets": {"count": {"min": count}},
            **spec,
        },
    }


def policy(name: str, rule: dict[str, Any], labels: dict[str, str]) -> dict[str, Any]:
    """A PlacementPolicy of one rule, for placements with these labels."""
    return {
        "apiVersion": "placement.moorage.io/v1alpha1",
        "kind": "PlacementPolicy",
        "metadata": {"name": name},
        "spec": {"placementSelector": {"matchLabels": labels}, "rules": [rule]},
    }
