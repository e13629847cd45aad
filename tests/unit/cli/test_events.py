"""What an event of a placement says for people, and whether something is so after some of them."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect as mi

from services.cli.support.events import DECIDING, KINDS, STANDING, SeenEvent, proof, seen
from services.cli.support.output import printable
from services.cli.support.sentences import sentence
from services.cli.support.showing import line
from shared.cloudevents import CloudEvent, structured
from shared.model.events import DecidedData, DecidedTarget, RefusedData, RemovedData, type_of
from shared.model.refs import PlacementRef, TargetRef
from shared.model.words import EVENT_WORDS
from tests.support.golden import sample

REF = PlacementRef(workspace="root:a", namespace="shop", name="web")


def event(word: str, generation: int = 1, uid: str = "u", **fields: object) -> SeenEvent:
    """An event of this type, with whatever its data need."""
    kind = KINDS[word]
    common = {"placement": msgspec.to_builtins(REF), "uid": uid, "generation": generation, "attempt": generation}
    content = {**sample(mi.type_info(kind)), **common, **fields}
    content = {name: value for name, value in content.items() if value is not None}
    sent = CloudEvent(id="1", source="/moorage", type=type_of(kind.kind), data=msgspec.json.encode(content))
    found = seen(structured(sent))
    assert found is not None
    return found


REMOVED_FROM_ONE = event("Removed", target={"workspace": "root:p", "name": "one"})
REMOVED = event("Removed", target=None)


def test_commands_take_the_word_of_each_event():
    assert tuple(KINDS) == EVENT_WORDS


@pytest.mark.parametrize("word", KINDS)
def test_every_type_is_read_and_shown_on_one_line(word: str) -> None:
    found = event(word)
    assert found.word == word
    shown = line(found).plain
    assert word in shown
    assert "shop/web" in shown
    assert "\n" not in shown


def test_what_is_no_event_or_of_an_unknown_type_is_passed_over() -> None:
    strange = CloudEvent(id="1", source="/x", type="io.moorage.placement.sang.v1", data=b"{}")
    ill = CloudEvent(id="1", source="/x", type=type_of("ready"), data=b'{"targets": "many"}')
    assert [seen(each) for each in (b"", b"{}", b"\xff", structured(strange), structured(ill))] == [None] * 5


@pytest.mark.parametrize(
    ("word", "history", "so"),
    [
        ("Ready", [], False),
        ("Ready", [event("Ready")], True),
        ("Ready", [event("Ready"), event("Degraded")], False),
        ("Degraded", [event("Ready"), event("Degraded")], True),
        ("Ready", [event("Ready"), event("Bound")], True),
        ("Ready", [event("Ready"), event("Requested", 2)], False),
        ("Ready", [event("Ready"), event("Requested", 2), event("Ready", 2)], True),
        ("Ready", [event("Ready"), event("Requested", 1, "other")], False),
        ("Ready", [event("Ready"), REMOVED_FROM_ONE], True),
        ("Ready", [event("Ready"), REMOVED], False),
        ("Removed", [event("Ready"), REMOVED_FROM_ONE], False),
        ("Removed", [event("Ready"), REMOVED], True),
        ("Removed", [REMOVED, event("Requested", 1, "other")], False),
        ("Decided", [event("Decided"), event("Refused")], False),
        ("Refused", [event("Decided"), event("Refused")], True),
        ("Decided", [event("Decided"), event("Ready")], True),
        ("Moved", [event("Moved"), event("Ready")], True),
    ],
)
def test_something_is_so_by_the_last_event_that_says_it_of_what_was_asked_for_last(
    word: str, history: list[SeenEvent], so: bool
) -> None:
    assert (proof(word, history) is not None) is so


def test_only_the_object_and_the_generation_that_were_asked_about_count() -> None:
    history = [event("Ready", 3, "old"), event("Ready", 1, "new")]
    assert proof("Ready", history, "new", 1) is history[1]
    assert proof("Ready", history, "new", 2) is None
    assert proof("Ready", history[:1], "new", 1) is None


@given(
    st.lists(
        st.builds(event, st.sampled_from(sorted(KINDS)), st.integers(1, 3), st.sampled_from(("a", "b"))), max_size=8
    )
)
def test_of_states_that_exclude_each_other_at_most_one_is_so(history: list[SeenEvent]) -> None:
    for excluding in (STANDING, DECIDING):
        assert len([word for word in excluding if proof(word, history)]) <= 1


def test_a_decision_names_its_best_targets_and_counts_the_others() -> None:
    targets = tuple(
        DecidedTarget(target=TargetRef(workspace="root:p", name=f"t{number}"), score=90.4 - number)
        for number in range(5)
    )
    common = {"placement": REF, "uid": "u", "generation": 1, "attempt": 1}
    data = DecidedData(**common, targets=targets, selected=5, considered=8)
    assert sentence(data) == "t0 (90), t1 (89), t2 (88) and 2 more, out of 8"
    assert sentence(RefusedData(**common, code="NoTarget", message="0/8 targets")) == "0/8 targets"
    assert sentence(RemovedData(**common)) == "everywhere"


def test_what_a_terminal_would_act_on_is_not_printed() -> None:
    assert printable("a\x1b[31mb\nc\x9b") == "a [31mb c "
    shown = line(event("Refused", message="a\x1b]0;title\x07\nb")).plain
    assert shown.isprintable()
