"""Changes to a followed collection, coalesced per object for each subscriber."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

T = TypeVar("T")

Key: TypeAlias = tuple[str, str]  # namespace ("" if it has none) and name

_SYNCED: Key = ("", "")  # no object has an empty name


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """The next news of one object for a subscriber.

    `old` is the object as this subscriber last saw it: changes in between are coalesced, so what was deleted and made
    anew in the meantime arrives as Modified, with another uid. Synced has no object: all that the server had when it
    was last listed has been delivered.
    """

    kind: Literal["Added", "Modified", "Deleted", "Synced"]
    key: Key = _SYNCED
    object: T | None = None
    old: T | None = None


class Subscription(Generic[T]):
    """The changes that one subscriber has not seen yet: at most one change per object, however slow it is."""

    def __init__(self, objects: Mapping[Key, T]) -> None:
        """`objects` is the live cache; what is in it already is noted as added."""
        self._objects = objects
        self._pending: dict[Key, T | None] = dict.fromkeys(objects)  # in order; with the object as last delivered
        self._awake = asyncio.Event()
        self._ended = False

    def note(self, key: Key, old: T | None) -> None:
        """The object at `key` was `old` (None: absent), and is now what the cache says."""
        self._pending.setdefault(key, old)
        self._awake.set()

    def note_synced(self) -> None:
        """All that is noted so far makes the subscriber's view complete."""
        self._pending.pop(_SYNCED, None)
        self._pending[_SYNCED] = None
        self._awake.set()

    def end(self) -> None:
        """Nothing more will be noted."""
        self._ended = True
        self._awake.set()

    async def next(self) -> Change[T] | None:
        """The next change, as soon as there is one; None after the last."""
        while True:
            while self._pending:
                key = next(iter(self._pending))
                change = self._change(key, self._pending.pop(key))
                if change is not None:
                    return change
            if self._ended:
                return None
            self._awake.clear()
            await self._awake.wait()

    def _change(self, key: Key, old: T | None) -> Change[T] | None:
        if key == _SYNCED:
            return Change("Synced")
        new = self._objects.get(key)
        if old is None:
            return None if new is None else Change("Added", key, new)
        return Change("Deleted", key, None, old) if new is None else Change("Modified", key, new, old)
