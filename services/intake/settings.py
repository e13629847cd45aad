"""The settings of the intake worker."""

from typing import Annotated

from msgspec import Meta

from shared.process.settings import AccessSettings


class IntakeSettings(AccessSettings, frozen=True, kw_only=True):
    """The settings of the intake worker."""

    users_file: Annotated[
        str,
        Meta(
            description="File (YAML) that says which users of the hub those are that requests are published as; without"
            " it every request is refused. It is read again when it changes."
        ),
    ] = ""
    allowed_ttl_seconds: Annotated[float, Meta(description="How long a permission is remembered.", ge=0)] = 10.0
    denied_ttl_seconds: Annotated[float, Meta(description="How long a denial is remembered.", ge=0)] = 5.0
    decide_concurrency: Annotated[
        int, Meta(description="Questions what would be decided that a copy works on at once; more are refused.", ge=1)
    ] = 256
    decide_workspace_concurrency: Annotated[
        int, Meta(description="The same for each workspace, so that others find room beside it.", ge=1)
    ] = 64
    decide_seconds: Annotated[float, Meta(description="How long an answer to such a question may take.", gt=0)] = 10.0
