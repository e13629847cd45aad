"""What kubelets and controllers would report in a target cluster that has none: every Deployment is ready."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.informer import Informer
from shared.kube.resources import DEPLOYMENTS, NODES, PODS
from shared.kube.times import rfc3339

HERE = {"type": "Ready", "status": "True", "reason": "KubeletReady"}


async def join(client: Client, name: str, **room: str) -> None:
    """Add a node with this room (`cpu="8"`), ready for pods."""
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
    await client.create(NODES, node)
    status = {"capacity": room, "allocatable": room, "conditions": [HERE], "nodeInfo": {}}
    await client.merge_patch(NODES, name, {"status": status}, subresource="status")
    await client.merge_patch(NODES, name, {"spec": {"taints": None}})  # not-ready, as every node begins


@asynccontextmanager
async def reporting(client: Client) -> AsyncIterator[None]:
    """Report every Deployment of a cluster ready for as long as the block lasts."""
    task = asyncio.create_task(_report(client))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _report(client: Client) -> None:
    async with Informer(client, DEPLOYMENTS) as deployments:
        async for change in deployments.events():
            if change.object is not None and (status := _status(change.object)) is not None:
                namespace, name = change.key
                with contextlib.suppress(ApiError):  # gone meanwhile, or changed: another event follows
                    await client.merge_patch(
                        DEPLOYMENTS, name, {"status": status}, namespace, subresource="status", field_manager="kubelets"
                    )


def _status(deployment: dict[str, Any]) -> dict[str, Any] | None:
    """What its controller would write; None where that is there already."""
    generation, replicas = deployment["metadata"]["generation"], deployment["spec"]["replicas"]
    said = deployment.get("status") or {}
    if (said.get("observedGeneration"), said.get("availableReplicas", 0)) == (generation, replicas):
        return None
    conditions = [
        {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"},
        {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
    ]
    counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    return {"observedGeneration": generation, "conditions": conditions, **dict.fromkeys(counts, replicas)}


@asynccontextmanager
async def running(client: Client) -> AsyncIterator[None]:
    """Run every Pod of a cluster for as long as the block lasts, where its controllers make them: those of Jobs end."""
    task = asyncio.create_task(_run(client))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _run(client: Client) -> None:
    async with Informer(client, PODS) as pods:
        async for change in pods.events():
            if change.object is not None and (status := _state(change.object)) is not None:
                namespace, name = change.key
                with contextlib.suppress(ApiError):  # gone meanwhile, or changed: another event follows
                    await client.merge_patch(
                        PODS, name, {"status": status}, namespace, subresource="status", field_manager="kubelets"
                    )


def _state(pod: dict[str, Any]) -> dict[str, Any] | None:
    """What its kubelet would write; None where that is there already."""
    if (pod.get("status") or {}).get("phase", "Pending") != "Pending":
        return None
    owners = {each["kind"] for each in pod["metadata"].get("ownerReferences") or ()}
    now = rfc3339(time.time(), "seconds")
    if "Job" in owners:
        return {"phase": "Succeeded", "startTime": now}
    return {"phase": "Running", "startTime": now, "conditions": [{**HERE, "lastTransitionTime": now}]}
