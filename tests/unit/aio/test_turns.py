"""Turns: owner by owner, and nobody takes the last places."""

from shared.aio.turns import Turns


def test_owners_take_turns_and_each_owners_items_come_in_order() -> None:
    turns = Turns[str](places=100)
    for item in ("a1", "a2", "a3", "b1", "c1", "c2"):
        turns.add(item[0], item)
    assert [turns.next() for _ in range(7)] == ["a1", "b1", "c1", "a2", "c2", "a3", None]


def test_one_owner_alone_leaves_a_quarter_of_the_places() -> None:
    turns = Turns[int](places=32)
    for item in range(100):
        turns.add("a", item)
    assert len(list(iter(turns.next, None))) == turns.held == 24
    turns.add("b", 0)
    assert turns.next() == 0


def test_however_many_owners_flood_somebody_new_finds_a_place() -> None:
    turns = Turns[str](places=32)
    for owner in range(20):
        for _ in range(100):
            turns.add(f"flood {owner}", "flood")
    assert set(iter(turns.next, None)) == {"flood"}
    turns.add("new", "new")
    assert turns.next() == "new"


def test_a_place_that_is_given_back_goes_to_who_is_next() -> None:
    turns = Turns[str](places=1)
    turns.add("a", "a1")
    turns.add("a", "a2")
    turns.add("b", "b1")
    assert (turns.next(), turns.next()) == ("a1", None)
    turns.done("a")
    assert turns.next() == "b1"


def test_a_surplus_is_taken_of_who_has_most_the_newest_first() -> None:
    turns = Turns[str](places=1)
    for item in ("a1", "a2", "a3", "b1", "b2", "c1"):
        turns.add(item[0], item)
    assert turns.surplus(2) == ["a3", "a2"]
    assert set(turns.surplus(9)) == {"b2"}
    assert sorted(turns.waiting()) == ["a1", "b1", "c1"]
    assert len(turns) == 3
