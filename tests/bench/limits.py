"""What there is no getting past, measured beside: the sandbox alone, the chain of messages alone."""

import time
from typing import Any

import msgspec

from shared.kube.client import Client
from shared.kube.resources import CONFIGMAPS, DEPLOYMENTS
from tests.bench import bus_throughput
from tests.bench.load import each
from tests.support import worlds

SAMPLES = 500


class Limits(msgspec.Struct):
    """A second: creates of one small object, server-side applies of one Deployment, messages through six stages."""

    creates: float
    applies: float
    chain: float


async def limits(client: Client, samples: int = SAMPLES) -> Limits:
    """Of a sandbox that has nothing else to do, for a client of one of its workspaces; and of a NATS of its own."""
    names = [f"limit-{number}" for number in range(samples)]

    def config(name: str) -> dict[str, Any]:
        metadata = {"name": name, "namespace": worlds.NAMESPACE}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"key": "value" * 20}}

    creates = await _rate(names, lambda name: client.create(CONFIGMAPS, config(name)))
    applies = await _rate(
        names, lambda name: client.apply(DEPLOYMENTS, worlds.deployment(name), field_manager="bench", force=True)
    )
    for resource in (CONFIGMAPS, DEPLOYMENTS):
        await each(names, lambda name, kind=resource: client.delete(kind, name, worlds.NAMESPACE))
    return Limits(creates, applies, (await bus_throughput.run(4 * samples)).throughput)


async def _rate(names: list[str], act: Any) -> float:
    began = time.perf_counter()
    await each(names, act)
    return len(names) / (time.perf_counter() - began)
