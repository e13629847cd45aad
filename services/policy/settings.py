"""The settings of the policy worker."""

from typing import Annotated

from msgspec import Meta

from shared.process.settings import Settings


class PolicySettings(Settings, frozen=True, kw_only=True):
    """The settings of the policy worker."""

    catch_up_seconds: Annotated[
        float,
        Meta(
            description="How long to wait for inventory and policies as new as the message, before it is retried.", gt=0
        ),
    ] = 2.0
    rule_seconds: Annotated[
        float,
        Meta(
            description="Time that rules of one workspace may take beyond what is provably cheap; then they fail.", gt=0
        ),
    ] = 2.0
    rule_memory_mib: Annotated[
        int,
        Meta(description="Memory that the evaluation of one rule may take, in MiB; beyond it, the rule fails.", ge=64),
    ] = 512
    rule_processes: Annotated[
        int,
        Meta(description="Child processes for rules that are not provably cheap, started when needed.", ge=1, le=64),
    ] = 2
    count_seconds: Annotated[
        float, Meta(description="How often the counts per rule, for the status of policies, are recorded.", gt=0)
    ] = 30.0
