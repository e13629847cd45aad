"""A bounded dictionary: what was used least recently goes first."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Lru(Generic[K, V]):
    """At most `limit` entries. Reading or writing an entry makes it the most recently used one."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
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
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key]

    def put(self, key: K, value: V) -> list[V]:
        """Keep a value; the values that had to go for it, which may have to be closed."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        over = max(len(self._entries) - self.limit, 0)
        return [self._entries.popitem(last=False)[1] for _ in range(over)]

    def pop(self, key: K) -> V | None:
        """Forget an entry; its value, or None when there was none."""
        return self._entries.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
