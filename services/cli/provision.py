"""`moorage provision`: make streams, consumers and buckets, for workers that may not do so themselves."""

import argparse
import sys
from typing import Any

from services.cli.support.broker import broker, settings_of
from services.cli.support.settings import add_settings


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "provision",
        description="Create or update in NATS whatever the workers need: streams, consumers and buckets. Workers do it "
        "themselves at start, unless MOORAGE_PROVISION is false: then run this with the rights of an administrator, "
        "first and after each upgrade. What is stored stays.",
    )
    add_settings(parser, "ProvisionSettings")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Provision, and say what is there now."""
    import asyncio

    asyncio.run(_provision(args))
    return 0


async def _provision(args: argparse.Namespace) -> None:
    from services.registry import load_all
    from shared.pipeline import topology
    from shared.pipeline.buckets import BUCKETS
    from shared.process.settings import ProvisionSettings

    settings = settings_of(args, ProvisionSettings)
    workers = load_all()
    streams = (*topology.streams(settings), *topology.received(workers, settings.stream_replicas))
    consumers = tuple(consumer for worker in workers for consumer in topology.consumers(worker))
    async with broker(settings, replicas=settings.stream_replicas) as (bus, store):
        await bus.provision(streams, consumers)
        await store.provision(BUCKETS)
    for kind, found in (("stream", streams), ("consumer", consumers), ("bucket", BUCKETS)):
        for each in found:
            sys.stdout.write(f"{kind}/{each.name}\n")
