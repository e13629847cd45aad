"""The sandbox and a real API server get the same random requests, and have to answer alike."""

import secrets
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import NAMESPACES
from tests.conformance.backends import Backend
from tests.conformance.differential import Ask, asks, comparable

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("servers")]
REQUESTS = 120


async def answer(client: Client, namespace: str, ask: Ask) -> dict[str, Any] | ApiError:
    """What the server says, and has the object at; a refusal is an answer too."""
    path, body = ask.resource.path(namespace, ask.name, ask.subresource), ask.body
    try:
        if ask.knows:
            known = (await client.get(ask.resource, ask.name, namespace))["metadata"]["resourceVersion"]
            body = {**body, "metadata": {**body["metadata"], "resourceVersion": known}}
        said = await client.request(ask.method, path, params=ask.params, body=body, content_type=ask.content_type)
    except ApiError as error:
        return error
    return dict(msgspec.json.decode(said))


@pytest.mark.parametrize("seed", range(5))
async def test_the_same_requests_have_the_same_answers(pair: list[Backend], seed: int):
    namespace = f"alike-{seed}-{secrets.token_hex(3)}"
    async with AsyncExitStack() as stack:
        configs = [load_kubeconfig(backend.admin) for backend in pair]
        real, sandbox = [await stack.enter_async_context(Client(config, timeout=30)) for config in configs]
        for client in (real, sandbox):
            await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        for number, ask in enumerate(asks(seed, REQUESTS)):
            expected = comparable(await answer(real, namespace, ask))
            assert comparable(await answer(sandbox, namespace, ask)) == expected, f"request {number}: {ask}"
        for client in (real, sandbox):
            await client.delete(NAMESPACES, namespace)
