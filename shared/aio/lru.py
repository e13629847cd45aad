"""A bounded dictionary: what was used least recently goes first."""

from collections import OrderedDict
from collections.abc import Callable, ItemsView, Iterator
from typing import Any, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_NOTHING: Any = object()
"""Stands for what is not there: None may be a value, and to ask twice is to hash the key twice."""


class Lru(Generic[K, V]):
    """At most `limit` entries. Reading or writing an entry makes it the most recently used one.

    With `weigh`, the limit is on what all entries weigh together at the time of a `put`; the newest stays in any case.
    """

    def __init__(self, limit: int, weigh: Callable[[V], int] | None = None) -> None:
        self.limit = limit
        self._weigh = weigh
        self._entries: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[K]:
        """The keys, the least recently used first."""
        return iter(self._entries)

    def get(self, key: K) -> V | None:
        """The value, which counts as a use; None when there is none."""
        value: V = self._entries.get(key, _NOTHING)
        if value is _NOTHING:
            return None
        self._entries.move_to_end(key)
        return value

    def items(self) -> ItemsView[K, V]:
        """Keys with their values, the least recently used first; to look at them is no use of them."""
        return self._entries.items()

    def put(self, key: K, value: V) -> list[V]:
        """Keep a value; the values that had to go for it, which may have to be closed."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        gone = []
        while self._weight() > self.limit and (self._weigh is None or len(self._entries) > 1):
            gone.append(self._entries.popitem(last=False)[1])
        return gone

    def pop(self, key: K) -> V | None:
        """Forget an entry; its value, or None when there was none."""
        return self._entries.pop(key, None)

    def _weight(self) -> int:
        return len(self._entries) if self._weigh is None else sum(map(self._weigh, self._entries.values()))

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
