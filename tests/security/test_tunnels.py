"""Targets whose connections an agent carries: nothing is dialled, and nothing is sent that the agent could read."""

import pytest

from shared.hub.hub import Hub
from shared.hub.targets import TargetClients
from shared.kube.errors import NotAllowed, Unreachable
from shared.kube.resources import NODES
from shared.model.target import KubeconfigRef, Target
from tests.security.test_addresses import PLATFORM, Service, http, kubeconfig, offer, scene
from tests.support.discovery import Scene
from tests.support.perimeter import BESIDE_US

__all__ = ["scene"]


def behind(name: str) -> Target:
    ref = KubeconfigRef(namespace="default", name=name)
    return Target(workspace=PLATFORM, name=name, uid="1", kubeconfig=ref, agent=True)


def clients(scene: Scene) -> TargetClients:
    return TargetClients(Hub(scene.hub, "kcp"), user_agent="test", timeout=5.0, perimeter=BESIDE_US)


@pytest.mark.parametrize(
    ("server", "cluster"),
    [
        ("http://10.0.0.1:8080", {}),
        ("https://10.0.0.1:6443", {"insecure-skip-tls-verify": True}),
        ("https://10.0.0.1:6443", {"proxy-url": "http://10.0.0.2:3128"}),
    ],
)
async def test_what_an_agent_could_read_is_not_sent_through_it(scene, server, cluster):
    await offer(scene, "far", kubeconfig(server, **cluster))
    found = clients(scene)
    with pytest.raises(NotAllowed, match="agent carries the connection"):
        await found.get(behind("far"))
    await found.close()


async def test_a_target_behind_an_agent_is_never_dialled_whatever_its_kubeconfig_names(scene):
    async with Service(http(b"{}")).running() as service:
        await offer(scene, "far", kubeconfig(f"https://127.0.0.1:{service.port}"))
        found = clients(scene)
        client = await found.get(behind("far"))
        with pytest.raises(Unreachable, match="carried by an agent"):
            await client.list(NODES)
        assert service.connected == 0
        await found.close()
