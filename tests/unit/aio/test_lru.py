"""The bounded dictionary, against a model that keeps all uses in a list."""

from hypothesis import given
from hypothesis import strategies as st

from shared.aio.lru import Lru

STEPS = st.lists(st.tuples(st.sampled_from(["get", "put", "pop"]), st.integers(0, 5)), max_size=40)


@given(st.integers(1, 4), STEPS)
def test_it_keeps_what_was_used_most_recently_and_hands_out_what_had_to_go(limit, steps):
    lru: Lru[int, str] = Lru(limit)
    used: list[int] = []  # keys that are kept, in order of use
    for verb, key in steps:
        known = key in used
        if known:
            used.remove(key)
        if verb == "pop":
            assert lru.pop(key) == (str(key) if known else None)
            continue
        if verb == "get":
            assert lru.get(key) == (str(key) if known else None)
            used += [key] if known else []
            continue
        used.append(key)
        gone = [str(used.pop(0))] if len(used) > limit else []
        assert lru.put(key, str(key)) == gone
        assert list(lru) == used
    assert len(lru) == len(used)
    assert all(key in lru for key in used)


def test_cleared_it_is_empty():
    lru: Lru[str, int] = Lru(2)
    lru.put("a", 1)
    lru.clear()
    assert len(lru) == 0
    assert "a" not in lru


def test_entries_may_be_bounded_by_what_they_weigh_together_and_the_newest_stays():
    lru: Lru[str, list[int]] = Lru(5, weigh=len)
    lru.put("a", [1, 2])
    lru.put("b", [3])
    assert lru.get("a") == [1, 2]
    assert lru.put("c", [4, 5, 6]) == [[3]]
    lru.get("a")
    [grown] = [value for key, value in lru.items() if key == "a"]
    grown.append(0)  # what is there already may grow; that counts at the next put
    assert lru.put("d", [7]) == [[4, 5, 6]]
    assert lru.put("e", [0] * 99) == [[1, 2, 0], [7]]
    assert list(lru.items()) == [("e", [0] * 99)]


def test_to_look_at_the_entries_is_no_use_of_them():
    lru: Lru[str, int] = Lru(2)
    lru.put("a", 1)
    lru.put("b", 2)
    assert dict(lru.items())["a"] == 1
    assert lru.put("c", 3) == [1]
