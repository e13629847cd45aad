"""Workers as a process: settings, a connection for each, health probes, an end on signals.

SIGTERM or SIGINT stops all its workers, which drain; exit 0.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Sequence

from shared.broker.bus import BusError
from shared.broker.nats.connection import connect
from shared.kube.errors import KubeError
from shared.pipeline.runner import Running, run
from shared.pipeline.worker import Worker
from shared.process import health
from shared.process.logs import set_up_logging
from shared.process.main import run_until_stopped
from shared.process.metrics import Metric
from shared.process.settings import Settings, parse
from shared.process.tracing import Telemetry

log = logging.getLogger("moorage.runner")


def main(worker: Worker, argv: Sequence[str] | None = None) -> None:
    """Run one worker as a process: settings from flags and environment, exit code 0 after a drain, 1 on failure."""
    prog = f"python -m services.{worker.name}"
    settings = parse(
        worker.settings, sys.argv[1:] if argv is None else argv, os.environ, prog=prog, summary=worker.summary
    )
    set_up_logging(worker.name, settings.log_level, settings.log_format)
    sys.exit(run_workers([(worker, settings)]))


def run_workers(workers: Sequence[tuple[Worker, Settings]]) -> int:
    """Run workers in this process, each on its own connection, until a signal comes; the exit code."""

    async def all_of_them(stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            for worker, settings in workers:
                tasks.create_task(_run_one(worker, settings, stop), name=worker.name)

    return run_until_stopped(all_of_them, BusError, KubeError)


async def _run_one(worker: Worker, settings: Settings, stop: asyncio.Event) -> None:
    """Run one worker of this process, and answer its health probes from the start, also while it waits for NATS."""
    running: list[Running] = []

    def unready() -> str:
        return running[0].unready() if running else f"{worker.name} waits for NATS"

    def metrics() -> Sequence[Metric]:
        return running[0].runtime.metrics if running else ()

    async with health.serve(settings.health_host, settings.health_port, unready, metrics) as port:

        def ready() -> None:
            log.info("ready", extra={"health_port": port, "pid": os.getpid()})

        await _connect_and_run(worker, settings, stop, on_start=running.append, on_ready=ready)


async def _connect_and_run(
    worker: Worker,
    settings: Settings,
    stop: asyncio.Event,
    *,
    on_start: Callable[[Running], None],
    on_ready: Callable[[], None],
) -> None:
    connecting = asyncio.create_task(connect(f"moorage-{worker.name}", settings, replicas=settings.stream_replicas))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((connecting, stopping), return_when=asyncio.FIRST_COMPLETED)
    if not connecting.done():
        connecting.cancel()
        return
    stopping.cancel()
    bus, store = await connecting
    telemetry = Telemetry(worker.name, os.environ)
    try:
        await run(worker, settings, bus, store, stop=stop, telemetry=telemetry, on_start=on_start, on_ready=on_ready)
    finally:
        await bus.close()
        await asyncio.to_thread(telemetry.close)
