"""Whose turn it is, where many owners share few places, so that nobody waits behind another's burst."""

from collections import Counter, OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")

SHARE = 3
"""An owner may hold this many times as many places as are left free: alone three quarters of them. The last place is
for somebody who has none, so that whoever comes new finds one, unless there are as many owners as places."""


class Turns(Generic[T]):
    """Items that wait for one of `places` places: one owner after the other, and within an owner first come."""

    def __init__(self, places: int, *, share: int | None = SHARE) -> None:
        """`share` None: an owner may hold all places."""
        self._places = places
        self._share = share
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()
        self._held: Counter[str] = Counter()
        self._free = places
        self._count = 0

    def __len__(self) -> int:
        """How many items wait."""
        return self._count

    @property
    def held(self) -> int:
        """How many places are taken."""
        return self._places - self._free

    def add(self, owner: str, item: T) -> None:
        """Have an item wait."""
        self._waiting.setdefault(owner, deque()).append(item)
        self._count += 1

    def next(self) -> T | None:
        """The item whose turn it is, which has a place from now on; None while there is none to be had.

        `done` gives its owner's place back.
        """
        if self._free <= 0:
            return None
        owner = next((each for each in self._waiting if self._may_hold_more(each)), None)
        if owner is None:
            return None
        item = self._take(owner, newest=False)
        if owner in self._waiting:
            self._waiting.move_to_end(owner)
        self._held[owner] += 1
        self._free -= 1
        return item

    def done(self, owner: str) -> None:
        """A place that this owner held is free."""
        self._held[owner] -= 1
        if not self._held[owner]:
            del self._held[owner]
        self._free += 1

    def surplus(self, most: int) -> list[T]:
        """Take out up to `most` waiting items, the newest of who waits with most, and leave everybody one at least."""
        taken: list[T] = []
        while self._waiting and len(taken) < most:
            owner = max(self._waiting, key=lambda each: len(self._waiting[each]))
            if len(self._waiting[owner]) == 1:
                break
            taken.append(self._take(owner, newest=True))
        return taken

    def clear(self) -> list[T]:
        """Take out all that waits."""
        items = [item for queue in self._waiting.values() for item in queue]
        self._waiting.clear()
        self._count = 0
        return items

    def waiting(self) -> list[T]:
        """All that waits."""
        return [item for queue in self._waiting.values() for item in queue]

    def _may_hold_more(self, owner: str) -> bool:
        held = self._held[owner]
        return self._share is None or not held or held < self._share * (self._free - 1)

    def _take(self, owner: str, *, newest: bool) -> T:
        queue = self._waiting[owner]
        item = queue.pop() if newest else queue.popleft()
        self._count -= 1
        if not queue:
            del self._waiting[owner]
        return item
