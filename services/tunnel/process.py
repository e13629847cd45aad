"""The agent as a process: it says whether it is ready, and ends on a signal, which breaks off what it carries."""

import asyncio
import functools
import logging
import os
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from services.tunnel.dialling import server
from services.tunnel.settings import TunnelSettings
from shared.broker.bus import Bus, BusError
from shared.broker.nats.connection import connect
from shared.broker.tunnel.agent import Agent
from shared.broker.tunnel.subjects import is_tunnel_id
from shared.pipeline.tunnels import inbox
from shared.process import health
from shared.process.main import StartError, run_until_stopped
from shared.process.measured import TUNNEL_BYTES, TUNNEL_OPENED, TUNNEL_STREAMS
from shared.process.metrics import Reading

log = logging.getLogger("moorage.tunnel")

SUMMARY: Final = "Beside a target: carries connections to its API server over NATS"


def run(settings: TunnelSettings) -> int:
    """Run it until a signal comes; the exit code."""
    return run_until_stopped(functools.partial(_run, settings), BusError)


async def _run(settings: TunnelSettings, stop: asyncio.Event) -> None:
    if not is_tunnel_id(settings.tunnel_id):
        raise StartError("setting tunnel_id: it is not what `moorage cluster describe` shows as the tunnel of a target")
    to = server(settings.tunnel_server, os.environ)
    agents: list[Agent] = []
    buses: list[Bus] = []

    def unready() -> str:
        if not agents:
            return "the agent waits for NATS"
        return "" if buses[0].healthy() else "the agent has no connection to NATS"

    def readings() -> Sequence[Reading]:
        return tunnel_readings(agents[0]) if agents else ()

    async with health.serve(settings.health_host, settings.health_port, unready, readings) as port:
        login = settings
        if login.nats_inbox_prefix == "_INBOX":
            login = msgspec.structs.replace(login, nats_inbox_prefix=inbox(settings.tunnel_id))
        bus = await _connected(login, stop)
        if bus is None:
            return
        buses.append(bus)
        agent = Agent(
            bus,
            settings.tunnel_id,
            functools.partial(to.dial, settings.dial_timeout_seconds),
            most=settings.max_connections,
            idle=settings.idle_timeout_seconds,
            clock=time.monotonic,
        )
        sweeping = asyncio.create_task(agent.run(), name="end what is silent")
        try:
            await agent.start()
            agents.append(agent)
            facts = {"tunnel": settings.tunnel_id, "server": f"{to.host}:{to.port}", "health_port": port}
            log.info("ready", extra={**facts, "pid": os.getpid()})
            await stop.wait()
            log.info("stopping: what it carries is broken off")
        finally:
            sweeping.cancel()
            await asyncio.gather(sweeping, return_exceptions=True)
            await agent.stop()
            await bus.close()


async def _connected(settings: TunnelSettings, stop: asyncio.Event) -> Bus | None:
    """NATS, once it is there; None when it is to stop before."""
    connecting = asyncio.create_task(connect("moorage-tunnel", settings))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((connecting, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not connecting.done():
        connecting.cancel()
        return None
    return (await connecting)[0]


def tunnel_readings(agent: Agent) -> Sequence[Reading]:
    """What is measured of it."""
    return (
        TUNNEL_STREAMS.number(lambda: len(agent)),
        TUNNEL_BYTES.read(lambda: {("sent",): agent.traffic.sent, ("received",): agent.traffic.received}),
        TUNNEL_OPENED.read(lambda: {(outcome,): many for outcome, many in agent.opened.items()}),
    )
