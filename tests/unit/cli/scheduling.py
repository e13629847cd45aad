"""`moorage schedule` on manifests that tests write: targets, a Deployment, a Placement of it."""

import argparse
from pathlib import Path

from services.cli import schedule

HEAD = "apiVersion: placement.moorage.io/v1alpha1\n"
TARGETS = f"""
{HEAD}kind: SyncTarget
metadata: {{name: eu-1, labels: {{topology.kubernetes.io/region: eu}}}}
spec: {{taints: [{{key: spot, value: "true", effect: NoSchedule}}]}}
status: {{allocatable: {{cpu: 8, memory: 1e3, pods: 9Ei}}}}
---
{HEAD}kind: SyncTarget
metadata: {{name: eu-2, labels: {{topology.kubernetes.io/region: eu}}}}
status: {{capacity: {{cpu: "10", memory: 40Gi, pods: 110}}, usage: {{cpu: 0.1m}}}}
---
apiVersion: v1
kind: List
items:
- {HEAD.strip()}
  kind: SyncTarget
  metadata: {{name: us-1, annotations: {{kcp.io/path: "root:us"}}}}
  status:
    allocatable: {{cpu: 8, memory: 40Gi, pods: 110}}
    apis: [{{group: apps, resource: deployments, kind: Deployment, versions: [v1]}}]
    conditions: [{{type: Ready, status: "True", lastTransitionTime: "2026-01-01T00:00:00Z"}}]
- {HEAD.strip()}
  kind: SyncTarget
  metadata: {{name: down}}
  status: {{conditions: [{{type: Ready, status: "False", lastTransitionTime: "2026-01-01T00:00:00Z"}}]}}
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  replicas: 6
  template: {spec: {containers: [{name: web, resources: {requests: {cpu: 500m, memory: 1Gi}}}]}}
"""


def placement(name: str = "web", spec: str = "", labels: str = "{}") -> str:
    workload = "workload: [{apiVersion: apps/v1, kind: Deployment, labelSelector: {matchLabels: {app: web}}}]"
    metadata = f"metadata: {{name: {name}, namespace: shop, labels: {labels}}}"
    return f"{HEAD}kind: Placement\n{metadata}\nspec:\n  {workload}\n  {spec}\n"


def command(folder: Path, *options: str, **texts: str) -> int:
    files = []
    for name, text in {"targets": TARGETS, **texts}.items():
        (folder / f"{name}.yaml").write_text(text)
        files += [f"--{name}", str(folder / f"{name}.yaml")]
    parser = argparse.ArgumentParser()
    schedule.add_parser(parser.add_subparsers())
    args = parser.parse_args(["schedule", *files, *options])
    return int(args.run(args))
