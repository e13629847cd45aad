"""Messages between the worker and its child processes: MessagePack, in frames that begin with their length."""

import hashlib
from typing import Any

import msgspec

from shared.api import PlacementPolicySpec

Answer = tuple[str, str]
"""`t`, `f` or `e`, and what went wrong."""


class Job(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """One rule on some targets, as it travels to the child: the engine's text, the calls that are made beforehand.

    `context` are the variables beside `target`.
    """

    digest: str
    text: str
    calls: dict[str, tuple[str, Any]]
    context: dict[str, Any]
    targets: list[dict[str, Any]]
    together: bool = False
    deadline: float = 0.0
    memory: int = 0


class Review(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A policy whose expressions are to be checked."""

    spec: PlacementPolicySpec
    deadline: float
    memory: int

    @property
    def digest(self) -> str:
        """What the policy is known by."""
        return hashlib.sha256(msgspec.json.encode(self.spec)).hexdigest()
