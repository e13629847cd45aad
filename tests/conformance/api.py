"""What the cases share: the server under test, objects to make there, watches to read, and conditions to wait for."""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import pytest

from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import CONFIGMAPS, NAMESPACES, Resource
from tests.conformance.backends import Backend
from tests.support import waiting
from tests.support.client import if_there

WITHIN = 60.0  # seconds for what a controller or a cache has to do first; kinds are looked for every half minute
PAUSE = 0.05

until = partial(waiting.until, within=WITHIN, pause=PAUSE)
Object = dict[str, Any]

_numbers = itertools.count()


async def json_patch(
    client: Client, resource: Resource, name: str, operations: Sequence[Mapping[str, Any]], namespace: str = ""
) -> Object:
    """Send a JSON patch (RFC 6902), which the workers never do; the object as the server has it then."""
    path, content_type = resource.path(namespace, name), "application/json-patch+json"
    return msgspec.json.decode(await client.request("PATCH", path, body=operations, content_type=content_type))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Api:
    """A server, a client with all rights on it, and a namespace that is this case's own."""

    backend: Backend
    admin: Client
    namespace: str

    def config_map(self, name: str = "", data: dict[str, str] | None = None, **metadata: Any) -> Object:
        """A ConfigMap of this case's namespace."""
        named = {"name": name} if name else {}
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {**named, "namespace": self.namespace, **metadata},
            "data": data or {},
        }

    async def make(self, *names: str, **metadata: Any) -> list[Object]:
        """Create ConfigMaps; returns them as the server has them."""
        return [await self.admin.create(CONFIGMAPS, self.config_map(name, **metadata)) for name in names]

    async def names(self, resource: Resource = CONFIGMAPS, **selectors: str) -> list[str]:
        """The names in this case's namespace that match, without what the server itself puts there."""
        page = await self.admin.list(resource, self.namespace, **selectors)
        return [name for each in page.items if (name := each["metadata"]["name"]) != "kube-root-ca.crt"]

    async def exists(self, resource: Resource, name: str) -> bool:
        return await if_there(self.admin.get(resource, name, self.namespace)) is not None


class Events:
    """The events of one watch, one after another."""

    def __init__(self, lines: AsyncIterator[bytes]) -> None:
        self._lines = lines

    async def next(self, within: float = WITHIN) -> tuple[str, Object]:
        """Type and object of the next event; ("", {}) where the server ended the watch."""
        async with asyncio.timeout(within):
            line = await anext(self._lines, b"")
        if not line:
            return "", {}
        event = msgspec.json.decode(line)
        return event["type"], event["object"]

    async def change(self) -> tuple[str, str]:
        """Type and name of the next event that is no bookmark."""
        kind, found = await self.next()
        while kind == "BOOKMARK":
            kind, found = await self.next()
        return kind, found.get("metadata", {}).get("name", "")

    async def rest(self) -> list[tuple[str, Object]]:
        """All events until the server ends the watch."""
        found = []
        while (event := await self.next())[0]:
            found.append(event)
        return found


@asynccontextmanager
async def watching(client: Client, resource: Resource, namespace: str = "", **params: Any) -> AsyncIterator[Events]:
    """A watch, for ten seconds unless the case says otherwise."""
    query = {"watch": True, "timeoutSeconds": 10, **params}
    async with client.stream(resource.path(namespace), params=query, idle=WITHIN) as lines:
        yield Events(lines)


@asynccontextmanager
async def namespace(admin: Client) -> AsyncIterator[str]:
    """A namespace that nobody else uses; marked for deletion afterwards, which nobody waits for."""
    name = f"case-{next(_numbers)}-{secrets.token_hex(3)}"
    await admin.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    try:
        await admin.delete(NAMESPACES, name)
    except ApiError as error:
        if not (error.not_found or error.conflict):
            raise


async def refusal(call: Awaitable[Any]) -> ApiError:
    """The error that a request is answered with; fails where it succeeds."""
    with pytest.raises(ApiError) as caught:
        await call
    return caught.value


def causes(error: ApiError) -> set[tuple[str, str]]:
    """Reason and field of each cause in the details of a refusal."""
    return {(each.get("reason", ""), each.get("field", "")) for each in error.details.get("causes", ())}


def document(resource: Resource, name: str = "", namespace: str = "", **content: Any) -> dict[str, Any]:
    """An object of a kind, as a manifest."""
    metadata = {key: value for key, value in (("name", name), ("namespace", namespace)) if value}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, **content}
