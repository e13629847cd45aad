"""Tokens and certificate authorities that change while clients are at work, on a sandbox that speaks TLS."""

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from services.sandbox.run import Ready, serve
from services.sandbox.wire.certificate import self_signed
from services.sandbox.world.world import Target as SandboxTarget
from services.sandbox.world.world import World
from shared.hub.hub import Hub
from shared.hub.targets import TargetClients
from shared.kube.auth.kubeconfig import Credentials, load_kubeconfig
from shared.kube.client import Client
from shared.kube.errors import Unreachable
from shared.kube.resources import NAMESPACES, SECRETS
from shared.model.target import KubeconfigRef, Target
from tests.support.perimeter import BESIDE_US

EAST = Target(workspace="", name="east", uid="u", kubeconfig=KubeconfigRef(namespace="default", name="east"))
STRANGER = self_signed(["127.0.0.1"], datetime.now(UTC))[0]


@pytest.fixture
async def ready(tmp_path: Path) -> AsyncIterator[Ready]:
    async with serve(World(targets=[SandboxTarget("east"), SandboxTarget("hub")]), "127.0.0.1", 0, tmp_path) as ready:
        yield ready


class Rotated:
    """A hub with the Secret of a target, and clients made from it."""

    def __init__(self, ready: Ready, hub: Client) -> None:
        self.hub = hub
        self.kubeconfig = yaml.safe_load(ready.kubeconfigs["target-east"].read_text())
        self.clients = TargetClients(
            Hub(hub, "kubernetes"), user_agent="test", timeout=5.0, perimeter=BESIDE_US, prove=False
        )
        self.versions = 0

    async def put(self, authority: bytes | None = None) -> Target:
        """Write the Secret, by another authority if that is to be; the target as the inventory has it then."""
        found: dict[str, Any] = yaml.safe_load(yaml.safe_dump(self.kubeconfig))
        if authority is not None:
            found["clusters"][0]["cluster"]["certificate-authority-data"] = base64.b64encode(authority).decode()
        data = {"kubeconfig": base64.b64encode(yaml.safe_dump(found).encode()).decode()}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "east", "namespace": "default"}}
        await self.hub.apply(SECRETS, {**secret, "data": data}, force=True)
        self.versions += 1
        ref = msgspec.structs.replace(EAST.kubeconfig, version=f"{self.versions}")
        return msgspec.structs.replace(EAST, kubeconfig=ref)

    @property
    def authority(self) -> bytes:
        return base64.b64decode(self.kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"])


@pytest.fixture
async def rotated(ready: Ready) -> AsyncIterator[Rotated]:
    async with Client(load_kubeconfig(ready.kubeconfigs["target-hub"])) as hub:
        found = Rotated(ready, hub)
        yield found
        await found.clients.close()


async def test_an_authority_that_is_rotated_in_the_secret_is_trusted_by_the_next_client(rotated: Rotated) -> None:
    old = await rotated.clients.get(await rotated.put(STRANGER))
    with pytest.raises(Unreachable):
        await old.get(NAMESPACES, "default")
    both = await rotated.clients.get(await rotated.put(rotated.authority + STRANGER))
    assert (await both.get(NAMESPACES, "default"))["metadata"]["name"] == "default"
    new = await rotated.clients.get(await rotated.put(rotated.authority))
    assert new is not both
    assert (await new.get(NAMESPACES, "default"))["metadata"]["name"] == "default"


async def test_who_has_the_old_client_goes_on_with_it(rotated: Rotated) -> None:
    old = await rotated.clients.get(await rotated.put())
    async with old.stream("/api/v1/namespaces", params={"watch": True}, idle=5.0) as lines:
        await anext(aiter(lines))
        under_way = [asyncio.create_task(old.get(NAMESPACES, "default")) for _ in range(8)]
        await asyncio.sleep(0)
        new = await rotated.clients.get(await rotated.put(rotated.authority + STRANGER))
        assert new is not old
        assert {found["metadata"]["name"] for found in await asyncio.gather(*under_way)} == {"default"}
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "later"}}
        await old.create(NAMESPACES, made)
        async with asyncio.timeout(5.0):
            async for line in lines:
                if b'"later"' in line:
                    break


async def test_a_secret_that_says_the_same_keeps_its_client_and_is_read_once(rotated: Rotated) -> None:
    first = await rotated.clients.get(await rotated.put())
    target = await rotated.put()
    assert await rotated.clients.get(target) is first
    rotated.clients.renew(target.id)
    assert await rotated.clients.get(target) is first


async def test_a_file_with_an_authority_is_read_again_when_it_changes(ready: Ready, tmp_path: Path) -> None:
    found = load_kubeconfig(ready.kubeconfigs["target-east"])
    assert found.ca is not None
    file = tmp_path / "ca.crt"
    file.write_bytes(STRANGER)
    async with Client(Credentials(server=found.server, token=found.token, ca=STRANGER, ca_file=file)) as client:
        with pytest.raises(Unreachable):
            await client.get(NAMESPACES, "default")
        for content in (found.ca, b"", b"-----BEGIN half", found.ca + STRANGER):
            file.write_bytes(content)
            assert (await client.get(NAMESPACES, "default"))["metadata"]["name"] == "default"
        file.unlink()
        assert (await client.get(NAMESPACES, "default"))["metadata"]["name"] == "default"
