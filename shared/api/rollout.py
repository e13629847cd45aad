"""Rollout: how what is placed is changed where it runs already, a few targets at a time."""

from typing import Annotated

from msgspec import Meta

from shared.api.meta import ApiStruct, percent

SomeOrPercent = Annotated[int, Meta(ge=1, le=10000)] | Annotated[str, Meta(pattern=r"^([1-9][0-9]?|100)%$")]
"""A number of targets, one at least, or a percentage of them such as 30%."""


def some_of(wanted: SomeOrPercent, total: int) -> int:
    """How many of so many targets these are: a percentage is rounded up, and there are no more than there are."""
    number = wanted if isinstance(wanted, int) else -(-total * percent(wanted) // 100)
    return min(number, total)


class RolloutStep(ApiStruct, frozen=True, kw_only=True):
    """Up to how many targets a change goes in a step."""

    targets: Annotated[
        SomeOrPercent,
        Meta(
            description="Targets that have the change after this step, those of earlier steps included; a percentage "
            "is rounded up."
        ),
    ]
    approve: Annotated[
        bool, Meta(description="If true, somebody has to approve the step before it begins (moorage rollout approve).")
    ] = False


class Rollout(ApiStruct, frozen=True, kw_only=True):
    """How what is placed is changed where it runs already. A step begins once all targets so far are healthy with the
    change, and ends the rollout's way to further targets while one of them fails. After the last step come all others.
    """

    steps: Annotated[tuple[RolloutStep, ...], Meta(description="Steps on the way to all targets.", max_length=16)] = ()
    max_concurrent: Annotated[
        SomeOrPercent,
        Meta(
            description="Targets that have the change and are not healthy (yet), at most; a percentage is rounded up."
        ),
    ] = 1
    revision_history_limit: Annotated[
        int, Meta(description="Revisions that are kept to go back to (PlacementRevisions); 0: none.", ge=0, le=20)
    ] = 5
