"""A whole system with a target that workers reach through its agent alone: they may dial no address beside us."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from shared.api import decode_synctarget, get_condition
from shared.broker.tunnel.subjects import tunnel_id
from shared.hub.resources import PLACEMENTS, SYNCTARGETS
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.errors import ApiError
from shared.kube.resources import DEPLOYMENTS
from tests.e2e.system import System, running_system, until
from tests.support import worlds
from tests.support.process import Process, http_get, process

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(600), pytest.mark.xdist_group("e2e")]

FAR = "cluster-000"
OFTEN = {
    "MOORAGE_PROBE_INTERVAL_SECONDS": "1",
    "MOORAGE_LOST_AFTER_SECONDS": "3",
    "MOORAGE_RETRY_MAX_SECONDS": "5",
}
NOWHERE = {"MOORAGE_TARGET_ALLOW": "192.0.2.0/24"}


@asynccontextmanager
async def agent(system: System, tunnel: str) -> AsyncIterator[tuple[Process, int]]:
    """The agent beside the far cluster, and the port of its health."""
    server = urlsplit(load_kubeconfig(Path(system.place.targets[FAR])).server)
    env = {
        **os.environ,
        "MOORAGE_NATS_URL": system.place.nats,
        "MOORAGE_TUNNEL_ID": tunnel,
        "MOORAGE_TUNNEL_SERVER": server.netloc,
        "MOORAGE_LOG_FORMAT": "json",
    }
    async with process(["moorage", "worker", "tunnel"], env) as running:
        ready = await running.record(lambda record: record["message"] == "ready")
        yield running, ready["health_port"]


async def test_a_placement_comes_to_a_target_behind_an_agent_and_outlives_agent_and_nats(tmp_path: Path) -> None:
    env_of = {"binding": NOWHERE, "status": NOWHERE}
    async with running_system(tmp_path, worlds.world(1, cpu="8"), env=OFTEN, env_of=env_of) as system:
        offered = system.admin.cluster(worlds.PLATFORM)

        async def reachable() -> tuple[str, str]:
            found = decode_synctarget(await offered.get(SYNCTARGETS, FAR))
            state = get_condition(found.status.conditions, "Reachable")
            return (state.status, state.message) if state is not None else ("", "")

        found = decode_synctarget(
            await offered.merge_patch(SYNCTARGETS, FAR, {"spec": {"agent": {}}}, field_manager="test")
        )
        tunnel = tunnel_id(worlds.PLATFORM, FAR, found.metadata.uid)
        await until(
            reachable,
            "it is said that no agent is there",
            holds=lambda said: said[0] == "False" and "no agent of this target is connected to NATS" in said[1],
        )
        async with agent(system, tunnel) as (first, port):
            await until(reachable, "it is reached", holds=lambda said: said[0] == "True")
            await system.place_app("web", replicas=2)
            await until(lambda: system.ready("web"), "web is Ready")
            _, measured = await http_get(port, "/metrics")
            assert "moorage_tunnel_connections" in measured
            before, _ = await system.uid(FAR, "web")
            await system.targets[FAR].delete(DEPLOYMENTS, "web", worlds.NAMESPACE)  # status sees it, binding mends it

            async def mended() -> bool:
                try:
                    return (await system.uid(FAR, "web"))[0] != before
                except ApiError:
                    return False

            await until(mended, "what somebody deleted is back")
            for number in range(20):
                await system.place_app(f"many-{number}")
            await until(lambda: system.placed("many-0"), "they are being placed")
            first.child.send_signal(signal.SIGKILL)
            await first.child.wait()
        async with agent(system, tunnel):
            await until(
                lambda: unready(system, 20),
                "all are Ready after the agent was killed",
                holds=lambda left: not left,
                within=180,
            )
            nats = system.running.nats
            assert nats is not None
            await nats.stop()
            await nats.start()
            await system.place_app("late")
            await until(lambda: system.ready("late"), "what comes after NATS was restarted is Ready")
            assert await system.placed("late") == [FAR]
            await system.user.delete(PLACEMENTS, "web", worlds.NAMESPACE)

            async def gone() -> bool:
                return not await system.placed("web")

            await until(gone, "what is withdrawn goes through the tunnel, too")


async def unready(system: System, many: int) -> dict[str, Any]:
    """Which of these are not Ready, and what is said of them."""
    found = {f"many-{number}": await system.status(f"many-{number}") for number in range(many)}
    return {name: status for name, status in found.items() if status.get("phase") != "Ready"}
