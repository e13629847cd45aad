"""A sandbox without sockets, and a client that speaks to `handle`."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.sandbox.sandbox import Sandbox
from services.sandbox.wire.http import Request, Response
from tests.unit.sandbox.exports import CLAIM, EXPORTS, SCHEMAS, WORKSPACES, export, id_of, schema


class Api:
    """Requests to one cluster under one token; bodies are dicts in and out."""

    def __init__(self, sandbox: Sandbox, cluster: str, token: str, prefix: str = "") -> None:
        self.sandbox = sandbox
        self.cluster = cluster
        self.token = token
        self.prefix = prefix

    def at(self, cluster: str, token: str = "") -> "Api":
        return Api(self.sandbox, cluster, token or self.token)

    def below(self, prefix: str) -> "Api":
        """The same cluster by another path, as that of a virtual workspace."""
        return Api(self.sandbox, self.cluster, self.token, prefix)

    async def raw(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
        **query: Any,
    ) -> Response:
        """Query parameters lose a trailing underscore, for those that are Python keywords."""
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        request = Request(
            method,
            f"{self.prefix}/clusters/{self.cluster}{path}" if self.cluster else path,
            {name.rstrip("_"): str(value) for name, value in query.items()},
            {"authorization": f"Bearer {self.token}", "content-type": content_type, **(headers or {})},
            content,
        )
        return await self.sandbox.handle(request)

    async def __call__(self, method: str, path: str, body: Any = None, *, expect: int = 200, **more: Any) -> Any:
        response = await self.raw(method, path, body, **more)
        document = json.loads(response.body) if response.body else {}
        assert response.status == expect, document
        return document

    async def patch(self, path: str, body: Any, kind: str = "merge-patch+json", **more: Any) -> Any:
        return await self("PATCH", path, body, content_type=f"application/{kind}", **more)

    async def apply(self, path: str, body: Any, manager: str = "tester", **more: Any) -> Any:
        return await self.patch(path, body, "apply-patch+yaml", fieldManager=manager, **more)

    async def watch(self, path: str, **query: Any) -> "Events":
        response = await self.raw("GET", path, watch=1, **query)
        assert response.status == 200, response.body
        assert response.stream is not None
        return Events(response.stream)


class Events:
    """The events of a watch, one by one; `(type, object)`."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self._lines: list[bytes] = []

    async def next(self) -> tuple[str, dict[str, Any]]:
        while not self._lines:
            self._lines = (await anext(self._stream)).splitlines()
        event = json.loads(self._lines.pop(0))
        return event["type"], event["object"]

    async def names(self, count: int) -> list[tuple[str, str]]:
        return [(kind, found["metadata"]["name"]) for kind, found in [await self.next() for _ in range(count)]]

    async def close(self) -> None:
        await self._stream.aclose()  # type: ignore[attr-defined]


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox("http://sandbox.test")


@pytest.fixture
def hub(sandbox: Sandbox) -> Api:
    """The root workspace, as administrator."""
    return Api(sandbox, "root", sandbox.add_user("admin", ("system:masters",)))


@pytest.fixture
def target(sandbox: Sandbox) -> Api:
    """A target cluster, as administrator."""
    cluster, token = sandbox.add_target("one")
    return Api(sandbox, cluster.name, token)


@pytest.fixture
async def provider(hub: Api) -> Api:
    """A workspace with a schema and an export that claims ConfigMaps; `one` and `two` beside it consume nothing yet."""
    for name in ("provider", "one", "two"):
        await hub("POST", WORKSPACES, {"metadata": {"name": name}}, expect=201)
    at = hub.at("root:provider")
    await at("POST", SCHEMAS, schema(size={"type": "integer"}), expect=201)
    await at("POST", EXPORTS, export(CLAIM), expect=201)
    return at


@pytest.fixture
def virtual(provider: Api) -> Api:
    """The export's virtual workspace, across all consumers."""
    return provider.at("*").below(f"/services/apiexport/{id_of(provider, 'root:provider')}/things")
