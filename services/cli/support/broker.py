"""The connection to NATS of a command that runs once and ends."""

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from services.cli.support.errors import CommandError, UsageError

if TYPE_CHECKING:
    from shared.broker.bus import Bus
    from shared.broker.nats.client import NatsClient
    from shared.broker.store import Store
    from shared.process.settings import NatsSettings, S

CONNECT_TIMEOUT = 5.0  # seconds


def settings_of(args: argparse.Namespace, kind: "type[S]") -> "S":
    """The settings in a command's flags and the environment; raises UsageError for what cannot be used."""
    from shared.process.settings import SettingsError, load

    try:
        return load(kind, vars(args), os.environ)
    except SettingsError as error:
        raise UsageError(str(error)) from None


@asynccontextmanager
async def broker(settings: "NatsSettings", *, replicas: int = 1) -> "AsyncIterator[tuple[Bus, Store]]":
    """The bus and the store on NATS; `replicas` is how many copies of a bucket are provisioned.

    Raises CommandError when NATS does not answer, refuses the connection, or fails while the block runs.
    """
    import asyncio

    from shared.broker.bus import BusError
    from shared.broker.nats.connection import connect
    from shared.broker.nats.options import without_credentials

    waited: list[str] = []  # who runs a command reads in one line what it waited for
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            bus, store = await connect("moorage-cli", settings, replicas=replicas, on_wait=waited.append)
    except TimeoutError:
        why = waited[-1].rpartition(": ")[2] if waited else "it says nothing"
        url = without_credentials(settings.nats_url)
        raise CommandError(
            f"no NATS answers at {url} within {CONNECT_TIMEOUT:g} s ({why}): see that it runs, and give its address as"
            " --nats-url or MOORAGE_NATS_URL"
        ) from None
    except BusError as error:
        raise CommandError(str(error)) from None
    try:
        yield bus, store
    except BusError as error:
        raise CommandError(str(error)) from None
    finally:
        await bus.close()


@asynccontextmanager
async def connection(settings: "NatsSettings") -> "AsyncIterator[NatsClient]":
    """NATS itself, for commands that speak to it as any other client does. Raises CommandError, as `broker` does."""
    from shared.broker.nats.bus import NatsBus

    async with broker(settings) as (bus, _):
        assert isinstance(bus, NatsBus)
        yield bus.client
