"""The picture of reservations: news and reads of any age, in any order."""

from hypothesis import given
from hypothesis import strategies as st

from services.decision.ledger import key_of
from services.decision.picture import Picture
from shared.broker.table import Entry
from shared.model.decision import Reservation
from shared.model.refs import PlacementRef, TargetRef
from tests.support.values import head

TARGET = "root:platform/one"
PREFIX = TargetRef.parse(TARGET).key


def ref(name: str) -> PlacementRef:
    return PlacementRef(workspace="root:team", namespace="apps", name=name)


def entry(name: str, revision: int, *, released: bool = False) -> Entry[Reservation]:
    held = Reservation(
        placement=ref(name), head=head(), resources={"cpu": float(revision)}, released_at=float(released)
    )
    return Entry(key_of(TARGET, ref(name)), held, revision)


def pictured(*entries: Entry[Reservation]) -> Picture:
    picture = Picture()
    for each in entries:
        picture.note(each)
    return picture


def known(picture: Picture) -> dict[str, int]:
    return {each.value.placement.name: each.revision for each in picture.entries()}


def test_an_older_read_changes_nothing_of_what_is_newer_and_leaves_in_doubt_what_it_lacks() -> None:
    picture = pictured(entry("a", 3), entry("b", 7))
    assert picture.merge(PREFIX, [entry("a", 2), entry("c", 5)]) == [entry("b", 7)]
    assert known(picture) == {"a": 3, "b": 7, "c": 5}


def test_what_a_newer_read_lacks_is_gone() -> None:
    picture = pictured(entry("a", 3), entry("b", 4))
    assert picture.merge(PREFIX, [entry("b", 9)]) == []
    assert known(picture) == {"b": 9}
    assert picture.held_by(ref("a")) == set()


def test_an_empty_read_leaves_all_in_doubt() -> None:
    picture = pictured(entry("a", 3))
    assert picture.merge(PREFIX, []) == [entry("a", 3)]


def test_news_of_a_deletion_do_not_take_away_what_was_written_after_it() -> None:
    picture = pictured(entry("a", 5))
    picture.drop(entry("a", 5).key, 4)
    assert known(picture) == {"a": 5}
    picture.drop(entry("a", 5).key, 5)
    assert known(picture) == {}


def test_what_is_released_is_known_and_not_held() -> None:
    picture = pictured(entry("a", 5, released=True))
    assert picture.held_by(ref("a")) == set()
    assert list(picture.holders()) == []
    assert picture.own(PREFIX, ref("a")) == entry("a", 5, released=True)


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), min_size=1, max_size=20),
    st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=20),
)
def test_below_the_newest_revision_that_is_known_nothing_is_missing(
    writes: list[tuple[str, bool]], facts: list[tuple[bool, int]]
) -> None:
    """Of a history of writes and deletions, in any order: whole reads at any time, and news up to any time."""
    states: list[dict[str, int]] = [{}]
    for revision, (name, deleted) in enumerate(writes, start=1):
        state = {other: at for other, at in states[-1].items() if other != name}
        states.append(state if deleted else {**state, name: revision})
    picture, told = Picture(), 0
    for is_read, number in facts:
        moment = min(number, len(states) - 1)
        if is_read:
            for doubtful in picture.merge(PREFIX, [entry(name, at) for name, at in states[moment].items()]):
                if doubtful.value.placement.name not in states[-1]:  # the bucket is asked as it is now
                    picture.drop(doubtful.key, doubtful.revision)
        else:
            for step in range(told + 1, moment + 1):
                name, deleted = writes[step - 1]
                if deleted:
                    picture.drop(entry(name, step).key, step)
                else:
                    picture.note(entry(name, step))
            told = max(told, moment)
        found = known(picture)
        newest = max(found.values(), default=0)
        assert {name: at for name, at in states[-1].items() if at <= newest}.items() <= found.items()
