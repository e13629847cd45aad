"""The connection to NATS of a command that runs once and ends."""

import argparse
import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.cli.support.errors import CommandError, UsageError
from shared.broker.bus import Bus, BusError
from shared.broker.store import Store
from shared.process.settings import NatsSettings, S, SettingsError, load

CONNECT_TIMEOUT = 10.0  # seconds


def settings_of(args: argparse.Namespace, kind: type[S]) -> S:
    """The settings in a command's flags and the environment; raises UsageError for what cannot be used."""
    try:
        return load(kind, vars(args), os.environ)
    except SettingsError as error:
        raise UsageError(str(error)) from None


@asynccontextmanager
async def broker(settings: NatsSettings, *, replicas: int = 1) -> AsyncIterator[tuple[Bus, Store]]:
    """The bus and the store on NATS; `replicas` is how many copies of a bucket are provisioned.

    Raises CommandError when NATS does not answer, refuses the connection, or fails while the block runs.
    """
    from shared.broker.nats.connection import connect
    from shared.broker.nats.options import without_credentials

    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            bus, store = await connect("moorage-cli", settings, replicas=replicas)
    except TimeoutError:
        url = without_credentials(settings.nats_url)
        raise CommandError(
            f"no NATS answers at {url} within {CONNECT_TIMEOUT:g} s: give its address as --nats-url or MOORAGE_NATS_URL"
        ) from None
    except BusError as error:
        raise CommandError(str(error)) from None
    try:
        yield bus, store
    except BusError as error:
        raise CommandError(str(error)) from None
    finally:
        await bus.close()
