"""What decision remembers of what it wrote: only what the next decision may be written upon without reading."""

import msgspec

from services.decision.memory import Memory, Record
from shared.api import HistoryEntry, PlacementDecisionStatus, ScoredTarget, TargetReference
from shared.model.refs import PlacementRef
from tests.support.values import head

REF = PlacementRef(workspace="root:team", namespace="apps", name="web")


def record(attempt: int = 3, uid: str = "u", targets: int = 1) -> Record:
    selected = tuple(ScoredTarget(target=TargetReference(name=f"t{number}")) for number in range(targets))
    history = (HistoryEntry(when="2026-01-01T00:00:00Z", why="Created"),)
    status = PlacementDecisionStatus(attempt=attempt, selected=selected, input_digest="d", history=history)
    return Record(uid=uid, version="7", status=status)


def test_a_newer_attempt_gets_all_that_its_decision_needs() -> None:
    memory = Memory()
    memory.note(REF, record())
    assert memory.before(REF, head(4)) == record()


def test_whoever_asks_for_the_same_attempt_or_an_older_one_has_to_read() -> None:
    memory = Memory()
    memory.note(REF, record())
    assert memory.before(REF, head(3)) is None
    assert memory.before(REF, head(2)) is None


def test_what_was_decided_for_a_placement_before_it_was_made_anew_does_not_count() -> None:
    memory = Memory()
    memory.note(REF, record())
    assert memory.before(REF, head(4, uid="another")) is None


def test_it_is_bounded_in_placements_and_in_what_each_takes() -> None:
    memory = Memory(limit=2, most_bytes=2000)
    refs = [msgspec.structs.replace(REF, name=name) for name in "abc"]
    for ref in refs:
        memory.note(ref, record())
    assert [memory.before(ref, head(4)) is not None for ref in refs] == [False, True, True]
    memory.note(refs[1], record(targets=100))
    assert memory.before(refs[1], head(4)) is None


def test_what_is_forgotten_has_to_be_read() -> None:
    memory = Memory()
    memory.note(REF, record())
    memory.forget(REF)
    assert memory.before(REF, head(4)) is None
