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
from shared.process.memory import collect_seldom
from shared.process.metrics import Reading, exported, families
from shared.process.settings import Settings, parse
from shared.process.tracing import Telemetry, resource

log = logging.getLogger("moorage.runner")

_EXPORTED_EVERY = 60.0  # seconds, as in OpenTelemetry


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

    def readings() -> Sequence[Reading]:
        return running[0].runtime.readings if running else ()

    async with health.serve(settings.health_host, settings.health_port, unready, readings) as port:

        def ready() -> None:
            collect_seldom()
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
    telemetry = Telemetry(worker.name, os.environ, settings.span_folder)
    running: list[Running] = []

    def started(now: Running) -> None:
        running.append(now)
        on_start(now)

    exporting = asyncio.create_task(_export(worker.name, lambda: running[0].runtime.readings if running else ()))
    try:
        await run(worker, settings, bus, store, stop=stop, telemetry=telemetry, on_start=started, on_ready=on_ready)
    finally:
        exporting.cancel()
        await asyncio.gather(exporting, return_exceptions=True)
        await bus.close()
        await asyncio.to_thread(telemetry.close)


async def _export(name: str, readings: Callable[[], Sequence[Reading]]) -> None:
    """Send metrics over OTLP every `OTEL_METRIC_EXPORT_INTERVAL` milliseconds, where the environment asks for it."""
    if not exported(os.environ):
        return
    from shared.process.exporting import MetricsExporter

    exporter = MetricsExporter(resource(name, os.environ))
    said = os.environ.get("OTEL_METRIC_EXPORT_INTERVAL", "")
    every = int(said) / 1000 if said.isdecimal() and int(said) else _EXPORTED_EVERY
    try:
        while True:
            await asyncio.sleep(every)
            if not await asyncio.to_thread(exporter.send, families(readings())):
                log.warning("metrics could not be sent over OTLP")
    finally:
        await asyncio.to_thread(exporter.send, families(readings()))  # what came since
        await asyncio.to_thread(exporter.close)
