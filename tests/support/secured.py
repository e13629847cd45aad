"""A real nats-server in which everybody has a user of their own, as `moorage nats permissions` makes them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from services.cli.nats import ADMIN, keys_in
from services.registry import load_all
from shared.broker.nats.bus import NatsBus
from shared.broker.nats.client import NatsClient
from shared.broker.nats.options import NatsOptions
from shared.broker.nats.permissions import API, API_PREFIX, configuration
from shared.broker.nats.server import NatsServer
from shared.broker.nats.store import NatsStore
from shared.pipeline import topology
from shared.pipeline.buckets import BUCKETS
from shared.pipeline.rights import accounts
from shared.pipeline.tenants import Tenant, account_of
from shared.pipeline.tunnels import TunnelUser


@dataclass
class Secured:
    """The server, and where the seeds of its users are."""

    server: NatsServer
    seeds: Path

    def options(self, name: str) -> NatsOptions:
        """How to be the user of this name: a worker, `operator`, or `admin`."""
        prefix = API if name == ADMIN else API_PREFIX
        return NatsOptions(nkey_seed_file=str(self.seeds / f"{name}.nk"), api_prefix=prefix)

    def environment(self, name: str) -> dict[str, str]:
        """The same, for a process."""
        options = self.options(name)
        return {
            "MOORAGE_NATS_NKEY": options.nkey_seed_file or "",
            "MOORAGE_NATS_API_PREFIX": options.api_prefix,
            "MOORAGE_PROVISION": "true" if name == ADMIN else "false",
        }

    @asynccontextmanager
    async def client(self, name: str) -> AsyncIterator[NatsClient]:
        client = await NatsClient.connect(self.server.url, name=name, options=self.options(name))
        try:
            yield client
        finally:
            await client.close()


async def provision(admin: NatsClient) -> None:
    """Make all that the workers need, as `moorage provision` does."""
    workers = load_all()
    consumers = tuple(consumer for worker in workers for consumer in topology.consumers(worker))
    await NatsBus(admin).provision((*topology.streams(), *topology.received(workers)), consumers)
    await NatsStore(admin).provision(BUCKETS)


@asynccontextmanager
async def secured(folder: Path, *tenants: Tenant, agents: tuple[TunnelUser, ...] = ()) -> AsyncIterator[Secured]:
    """The server, provisioned, within the block; with accounts of these tenants, and users of these agents."""
    found = (*accounts(load_all(), agents), *map(account_of, tenants))
    seeds = folder / "seeds"
    keys = keys_in(seeds, (ADMIN, *(name for account in found for name in account.user_names)))
    config = {"accounts": configuration(found, keys)}
    async with NatsServer(folder / "nats", config=config) as server:
        nats = Secured(server, seeds)
        async with nats.client(ADMIN) as admin:
            await provision(admin)
        yield nats
