"""What the policy worker can be told."""

from typing import Annotated

from msgspec import Meta

from shared.settings import Settings


class PolicySettings(Settings, frozen=True, kw_only=True):
    """Settings of the policy worker."""

    behind_seconds: Annotated[
        float,
        Meta(
            description="How long to wait for inventory and policies as new as the message, before it is retried.", gt=0
        ),
    ] = 2.0
