"""Client, informer and discovery against the sandbox, over HTTP."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.sandbox.sandbox import Sandbox
from services.sandbox.wire.server import listen, serving
from shared.hub.resources import WORKSPACES
from shared.kube.apis import RestMapper
from shared.kube.auth.kubeconfig import Credentials
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.informer import Informer
from shared.kube.objects import strip_server_fields
from shared.kube.resources import CONFIGMAPS, DEPLOYMENTS
from tests.support.manifests import obj

BOUND = 10.0


def config(name: str, **data: str) -> dict[str, Any]:
    return obj("ConfigMap", name=name, namespace="default", data=data)


@pytest.fixture
async def target() -> AsyncIterator[Client]:
    """An administrator's client of a target cluster."""
    sock = listen("127.0.0.1", 0)
    sandbox = Sandbox(f"http://127.0.0.1:{sock.getsockname()[1]}")
    cluster, token = sandbox.add_target("eu")
    credentials = Credentials(server=f"{sandbox.url}/clusters/{cluster.name}", token=token)
    async with serving(sandbox, sock), Client(credentials) as client:
        yield client


async def test_apply_creates_changes_and_reports_whose_fields_conflict(target):
    created = await target.apply(CONFIGMAPS, config("web", a="1"))
    assert created["data"] == {"a": "1"}
    assert (await target.apply(CONFIGMAPS, config("web", a="2")))["data"] == {"a": "2"}
    with pytest.raises(ApiError) as caught:
        await target.apply(CONFIGMAPS, config("web", a="3"), field_manager="other")
    assert caught.value.conflict
    assert caught.value.details["causes"][0]["field"] == ".data.a"
    taken = await target.apply(CONFIGMAPS, config("web", a="3"), field_manager="other", force=True)
    assert strip_server_fields(taken) == config("web", a="3")


async def test_writes_are_conditional_where_a_version_is_given(target):
    first = await target.create(CONFIGMAPS, config("web", a="1"))
    with pytest.raises(ApiError) as caught:
        await target.create(CONFIGMAPS, config("web"))
    assert caught.value.already_exists
    await target.merge_patch(CONFIGMAPS, "web", {"data": {"b": "2"}}, "default")
    with pytest.raises(ApiError) as caught:
        await target.replace(CONFIGMAPS, first)
    assert caught.value.conflict
    patched = await target.merge_patch(CONFIGMAPS, "web", {"data": {"a": None}}, "default")
    assert patched["data"] == {"b": "2"}
    with pytest.raises(ApiError) as caught:
        await target.delete(CONFIGMAPS, "web", "default", uid="another")
    assert caught.value.conflict
    await target.delete(CONFIGMAPS, "web", "default", uid=first["metadata"]["uid"], propagation="Background")
    with pytest.raises(ApiError) as caught:
        await target.get(CONFIGMAPS, "web", "default")
    assert caught.value.not_found


async def test_the_informer_follows_what_is_written(target):
    for number in range(7):
        await target.create(CONFIGMAPS, config(f"c{number}", n=str(number)))
    options: dict[str, Any] = {"namespace": "default", "page_size": 3}
    async with (
        asyncio.timeout(BOUND),
        Informer(target, CONFIGMAPS, **options) as informer,
        contextlib.aclosing(informer.events()) as events,
    ):
        while (await anext(events)).kind != "Synced":
            pass
        names = {name for _, name in informer.objects}
        assert names >= {f"c{number}" for number in range(7)}
        await target.merge_patch(CONFIGMAPS, "c1", {"data": {"n": "x"}}, "default")
        change = await anext(events)
        assert (change.kind, change.key) == ("Modified", ("default", "c1"))
        assert change.object is not None
        assert change.object["data"] == {"n": "x"}
        await target.delete(CONFIGMAPS, "c2", "default")
        assert (await anext(events)).kind == "Deleted"
        assert informer.error is None


async def test_leaving_a_selector_is_a_deletion(target):
    labelled = config("web")
    labelled["metadata"]["labels"] = {"app": "web"}
    await target.create(CONFIGMAPS, labelled)
    async with (
        asyncio.timeout(BOUND),
        Informer(target, CONFIGMAPS, namespace="default", label_selector="app=web") as informer,
        contextlib.aclosing(informer.events()) as events,
    ):
        assert [(await anext(events)).kind for _ in range(2)] == ["Added", "Synced"]
        await target.merge_patch(CONFIGMAPS, "web", {"metadata": {"labels": {"app": None}}}, "default")
        assert (await anext(events)).kind == "Deleted"


async def test_discovery_maps_kinds_and_an_unknown_workspace_is_forbidden(target):
    assert await RestMapper(target).resource("apps/v1", "Deployment") == DEPLOYMENTS
    with pytest.raises(ApiError) as caught:
        await target.cluster("root:nowhere").list(WORKSPACES)
    assert caught.value.unauthorized or caught.value.forbidden
