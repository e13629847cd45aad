"""The real kubectl, as people run it."""

import asyncio
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

KUBECTL = shutil.which("kubectl", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
BOUND = 90.0  # seconds

needs_kubectl = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: main, image: "nginx:1", ports: [{containerPort: 80}], env: [{name: A, value: "1"}]}]
"""


async def kubectl(home: Path, kubeconfig: Path, *args: str, given: str = "") -> tuple[int, str]:
    """Exit code and all that it said; `home` is where it keeps its caches."""
    async with asyncio.timeout(BOUND):
        process = await asyncio.create_subprocess_exec(
            str(KUBECTL),
            "--kubeconfig",
            str(kubeconfig),
            *args,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={"HOME": str(home), "PATH": os.environ["PATH"]},
        )
        output, _ = await process.communicate(given.encode())
    assert process.returncode is not None
    return process.returncode, output.decode()


def cells(output: str) -> dict[str, dict[str, str]]:
    """What `kubectl get` printed: by name of the object, and by the heading of the column."""
    head, *lines = output.splitlines()
    starts = [found.start() for found in re.finditer(r"(?<!\S)\S+(?: \S+)*", head)]
    ends = [*starts[1:], None]

    def row(line: str) -> dict[str, str]:
        return {head[a:b].strip(): line[a:b].strip() for a, b in zip(starts, ends, strict=True)}

    rows = [row(line) for line in lines]
    return {each["NAME"]: each for each in rows}
