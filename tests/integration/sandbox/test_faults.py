"""Faults over real sockets, as clients meet them, and as the command line asks for them."""

import asyncio
import json

import aiohttp
import pytest

from services.cli.main import main
from services.sandbox.run import Ready, serve
from services.sandbox.world.world import World
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.errors import ApiError, Unreachable

CONFIGS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
async def ready(tmp_path):
    async with serve(World(), "127.0.0.1", 0, tmp_path) as ready:
        yield ready


@pytest.fixture
async def client(ready: Ready):
    async with Client(load_kubeconfig(ready.kubeconfigs["admin"])) as client:
        yield client


async def moorage(ready: Ready, *arguments: str) -> int | str | None:
    """Run the command in a thread, so that the sandbox of this loop can answer."""
    where = ("sandbox", "fault", "--kubeconfig", str(ready.kubeconfigs["admin"]))
    with pytest.raises(SystemExit) as ended:
        await asyncio.to_thread(main, [*where, *arguments])
    return ended.value.code


async def test_the_command_line_adds_lists_and_clears(ready, client, capsys):
    assert await moorage(ready, "add", "429", "--resource", "configmaps", "--seconds", "3", "--times", "5") == 0
    number = capsys.readouterr().out.strip()
    with pytest.raises(ApiError) as refused:
        await client.request("GET", CONFIGS)
    assert refused.value.retry_after == 3
    assert await moorage(ready, "list") == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["id", "kind", "cluster", "verb", "resource", "rate", "seconds", "times", "hits"]
    assert row.split() == [number, "429", "*", "*", "configmaps", "1.0", "3.0", "5", "1"]
    assert await moorage(ready, "clear", number) == 0
    await client.request("GET", CONFIGS)
    await moorage(ready, "add", "500")
    assert await moorage(ready, "clear") == 0
    await client.request("GET", CONFIGS)


@pytest.mark.parametrize(
    ("arguments", "code"), [(("add", "teapot"), 2), (("add", "500", "--rate", "7"), 1), (("clear", "99"), 1)]
)
async def test_what_cannot_be_is_said_in_one_line(ready, arguments, code, capsys):
    assert await moorage(ready, *arguments) == code
    assert "Traceback" not in capsys.readouterr().err


async def test_a_truncated_body_breaks_off(ready, client):
    await moorage(ready, "add", "truncate", "--verb", "list", "--times", "1")
    with pytest.raises(Unreachable):
        await client.request("GET", CONFIGS)
    await client.request("GET", CONFIGS)


async def test_a_dropped_watch_ends_without_its_end(ready, client):
    credentials = load_kubeconfig(ready.kubeconfigs["admin"])
    version = json.loads(await client.request("GET", CONFIGS))["metadata"]["resourceVersion"]
    headers = {"Authorization": f"Bearer {credentials.token}"}
    url = f"{ready.url}/clusters/root{CONFIGS}?watch=1&resourceVersion={version}"
    async with (
        asyncio.timeout(10),
        aiohttp.ClientSession() as session,
        session.get(url, headers=headers, ssl=False) as stream,
    ):
        await moorage(ready, "add", "drop", "--verb", "watch")
        await client.request("POST", CONFIGS, body={"metadata": {"name": "one"}})
        with pytest.raises(aiohttp.ClientPayloadError):
            await stream.content.readline()
