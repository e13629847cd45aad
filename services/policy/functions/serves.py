"""`serves`: whether a target serves a kind."""

from collections.abc import Mapping
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


def _shortcut(target: Target, api_version: str, kind: str) -> bool:
    group, _, version = api_version.rpartition("/")
    return any(api.kind == kind and api.group == group and version in api.versions for api in target.apis)


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
