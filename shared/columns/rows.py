"""Which item is in which row."""

from typing import Generic, TypeVar

T = TypeVar("T")


class Rows(Generic[T]):
    """Items by id, each in a row of its own; the row of one that goes is given to the next that comes.

    `of` is the row of each id, and `items` the item in each row, None where a row is vacant: to be read only.
    """

    def __init__(self) -> None:
        self.of: dict[str, int] = {}
        self.items: list[T | None] = []
        self._vacant: list[int] = []

    def __len__(self) -> int:
        """How many items there are."""
        return len(self.of)

    def __getitem__(self, row: int) -> T:
        """The item in a row that has one."""
        item = self.items[row]
        assert item is not None
        return item

    def put(self, id: str, item: T) -> int:
        """Add an item, or replace the one of that id; its row."""
        row = self.of.get(id)
        if row is None:
            row = self.of[id] = self._vacant.pop() if self._vacant else len(self.items)
            if row == len(self.items):
                self.items.append(item)
        self.items[row] = item
        return row

    def remove(self, id: str) -> int | None:
        """Forget an item; the row that is vacant now, None where there was no such item."""
        row = self.of.pop(id, None)
        if row is not None:
            self.items[row] = None
            self._vacant.append(row)
        return row
