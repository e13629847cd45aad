"""A connection to NATS: the bus and the store over it."""

from collections.abc import Callable
from typing import Protocol

from shared.broker.bus import Bus
from shared.broker.nats.bus import NatsBus
from shared.broker.nats.options import NatsOptions
from shared.broker.nats.store import NatsStore
from shared.broker.store import Store


class Login(Protocol):
    """Where NATS is, and how to log in there; empty where it asks for nothing."""

    @property
    def nats_url(self) -> str: ...
    @property
    def nats_user(self) -> str: ...
    @property
    def nats_password(self) -> str: ...
    @property
    def nats_token(self) -> str: ...
    @property
    def nats_creds(self) -> str: ...
    @property
    def nats_nkey(self) -> str: ...
    @property
    def nats_ca(self) -> str: ...
    @property
    def nats_certificate(self) -> str: ...
    @property
    def nats_key(self) -> str: ...
    @property
    def nats_tls_first(self) -> bool: ...
    @property
    def nats_inbox_prefix(self) -> str: ...
    @property
    def nats_api_prefix(self) -> str: ...


async def connect(
    name: str, settings: Login, *, replicas: int = 1, on_wait: Callable[[str], None] | None = None
) -> tuple[Bus, Store]:
    """The bus and the store on NATS; waits while NATS is not there, and says so in the log, or to `on_wait`.

    `replicas` is how many copies of each bucket there are to be, for who provisions them.
    """
    options = NatsOptions(
        user=settings.nats_user or None,
        password=settings.nats_password or None,
        token=settings.nats_token or None,
        credentials_file=settings.nats_creds or None,
        nkey_seed_file=settings.nats_nkey or None,
        tls_ca_file=settings.nats_ca or None,
        tls_certificate_file=settings.nats_certificate or None,
        tls_key_file=settings.nats_key or None,
        tls_handshake_first=settings.nats_tls_first,
        inbox_prefix=settings.nats_inbox_prefix,
        api_prefix=settings.nats_api_prefix,
    )
    bus = await NatsBus.connect(settings.nats_url, name=name, options=options, on_wait=on_wait)
    return bus, NatsStore(bus.client, replicas=replicas)
