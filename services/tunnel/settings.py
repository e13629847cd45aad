"""The settings of the agent."""

from typing import Annotated

from msgspec import Meta

from shared.process.settings import HealthHost, HealthPort, LogFormat, LogLevel, NatsSettings


class TunnelSettings(NatsSettings, frozen=True, kw_only=True):
    """The settings of the agent beside a target."""

    tunnel_id: Annotated[
        str, Meta(description="The tunnel that it serves, as `moorage cluster describe` shows it.")
    ] = ""
    tunnel_server: Annotated[
        str,
        Meta(
            description="The API server that it dials, as HOST:PORT, and the only one; empty: that of the cluster which"
            " it runs in."
        ),
    ] = ""
    max_connections: Annotated[
        int,
        Meta(description="Connections that a copy carries at once; each takes up to 0.5 MiB.", ge=1, le=10_000),
    ] = 512
    dial_timeout_seconds: Annotated[
        float, Meta(description="How long it may take to connect to the API server.", gt=0, le=10)
    ] = 5.0
    idle_timeout_seconds: Annotated[
        float, Meta(description="How long a connection is carried that nothing goes through.", gt=0)
    ] = 600.0
    health_host: HealthHost = "127.0.0.1"
    health_port: HealthPort = 0
    log_level: LogLevel = "info"
    log_format: LogFormat = "auto"
