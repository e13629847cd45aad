"""`serves`: whether a target serves a kind."""

from collections.abc import Callable, Mapping
from typing import Any

from services.policy.functions.function import Function
from shared.model.target import Target


def serves(target: Mapping[str, Any], api_version: str, kind: str) -> bool:
    """True if the target serves the kind in exactly that version: `apps/v1`, or `v1` for the core group."""
    group, _, version = api_version.rpartition("/")
    return any(
        api["group"] == group and api["kind"] == kind and any(served == version for served in api["versions"])
        for api in target["apis"]
    )


def _shortcut(api_version: str, kind: str) -> Callable[[Target], bool]:
    group, _, version = api_version.rpartition("/")

    def served(target: Target) -> bool:
        for api in target.apis:  # noqa: SIM110 - a generator costs more than the loop, for each target
            if api.kind == kind and api.group == group and version in api.versions:
                return True
        return False

    return served


SERVES = Function(
    name="serves",
    overloads=(("Target", "string", "string"),),
    result="bool",
    call=serves,
    description="Whether the target serves that kind in that version",
    example='target.serves("apps/v1", "Deployment")',
    reads=("apis",),
    shortcut=_shortcut,
)
