"""The settings of a tenant's commands: of which workspace one is, and as whom one asks."""

from typing import Annotated

from msgspec import Meta

from shared.process.settings import NatsSettings


class TenantSettings(NatsSettings, frozen=True, kw_only=True):
    """Where NATS is, and of which workspace one is."""

    workspace: Annotated[
        str, Meta(description="Path of the workspace, as root:team; empty on a Kubernetes hub, which has none.")
    ] = ""


class AskerSettings(TenantSettings, frozen=True, kw_only=True):
    """Where NATS is, of which workspace one is, and as whom one asks."""

    user: Annotated[
        str, Meta(description="As whom it is asked: a user that the operator mapped to one of the hub.")
    ] = ""
