"""The port to shared state: small typed tables that one worker writes and others follow.

The table at the end says which bucket holds what and which worker owns it; a test checks that nobody else writes it.
All of it can be deleted: Kubernetes objects are the truth, and every owner rebuilds its buckets from them.
"""

import logging
from collections.abc import AsyncGenerator
from typing import Any, Generic, Protocol, TypeVar

import msgspec

T = TypeVar("T")

log = logging.getLogger("moorage.state")


MOST_SINCE = 256
"""Entries that `RawBucket.since` gives at once."""


class Conflict(Exception):
    """A compare-and-set failed, because somebody else has written since. Read again and decide anew."""


class Raw(msgspec.Struct, frozen=True):
    """An entry as stored. `value` is None where the key was deleted."""

    key: str
    value: bytes | None
    revision: int


class RawBucket(Protocol):
    """One bucket of a key-value store. Revisions grow over the whole bucket and are never reused."""

    async def get(self, key: str) -> Raw | None:
        """The entry as it is now: in a cluster, as the leader has it and not a copy that may be behind."""
        ...

    async def put(self, key: str, value: bytes) -> int:
        """Write whatever is there; returns the new revision."""
        ...

    async def update(self, key: str, value: bytes, revision: int, *, within: str | None = None) -> int:
        """Write if the last revision of `key` is still `revision` (0: there is none); else raise `Conflict`.

        A deleted key counts as absent. With `within`, a prefix of whole tokens, the last revision of *any* key below
        that prefix is compared instead; a deletion has one too, which `since` tells.
        """
        ...

    async def delete(self, key: str, revision: int | None = None) -> int: ...

    async def entries(self, prefix: str = "") -> list[Raw]:
        """All present entries below a prefix of whole tokens (all, when empty).

        In a cluster they may be some milliseconds old; a compare-and-set with their revisions finds that out.
        """
        ...

    async def since(self, revision: int, prefix: str = "") -> list[Raw]:
        """What was written or deleted below a prefix after a revision, as it is now, the oldest first.

        Of more than some hundred it gives the oldest ones. Deletions (value None) are among them for as long as the
        bucket remembers them. In a cluster it may be some milliseconds behind, as `entries` is.
        """
        ...

    async def newest(self) -> int:
        """The revision of the newest entry or remembered deletion, 0 where there is none; as the leader has it."""
        ...

    async def size(self) -> int | None:
        """How many entries and remembered deletions it holds; None when there is no such bucket."""
        ...

    def watch(self) -> AsyncGenerator[Raw | None, None]:
        """All present entries, then None once, then every change as it happens (value None: deleted).

        Among the present entries there may be deletions that the bucket still remembers.

        Survives reconnects; a key that changed meanwhile is delivered again, at least in its last state. What was lost
        with the bucket, or deleted so long ago that the bucket does not remember it, is told first, as a deletion at
        the revision that it had.
        """
        ...


class Store(Protocol):
    """Where buckets live."""

    async def provision(self, buckets: "tuple[Bucket[Any], ...]") -> None:
        """Create or update the buckets; idempotent."""
        ...

    def raw(self, bucket: "Bucket[Any]") -> RawBucket: ...


class Bucket(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A named table: what it holds, who alone writes it, of how many tokens its keys are (0: of any number).

    An entry that is not written for `max_age` seconds goes by itself (0: none does; in memory none ever does).
    """

    name: str
    holds: type[T]
    owner: str
    description: str
    tokens: int = 0
    max_bytes: int = 1 << 30
    max_age: float = 0.0
