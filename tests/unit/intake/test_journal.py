"""Requests about one placement keep their order, and one that comes twice is one."""

import pytest

from services.intake.backlog import Backlog
from services.intake.core import RequestRejected
from services.intake.journal import PATIENCE, Journal
from shared.broker.bus import Retry
from shared.broker.memory.bus import MemoryBus
from shared.broker.memory.store import MemoryStore
from shared.broker.table import Table
from shared.model.asking import AnswerEntry
from shared.model.refs import PlacementRef
from shared.pipeline.buckets import ASKED, REQUESTS
from shared.pipeline.requests import STREAM, RequestSubject

WEB = PlacementRef(workspace="root:team", namespace="shop", name="web")
API = PlacementRef(workspace="root:team", namespace="shop", name="api")
SUBJECT = RequestSubject("root:team", "alice", "place").subject


class Copies:
    """Several copies of intake on the same buckets; `now` is the time by which they have patience."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.bus = MemoryBus()
        self.now = 0.0

    def journal(self, clock: float = 0.0) -> Journal:
        tables = Table(self.store, REQUESTS), Table(self.store, ASKED)
        return Journal(*tables, Backlog(self.bus), lambda: clock, lambda: self.now)


def answer(text: str) -> AnswerEntry:
    return AnswerEntry(id=text, subject="a", event=text)


@pytest.fixture
async def copies() -> Copies:
    copies = Copies()
    await copies.bus.provision((STREAM,), ())
    return copies


async def test_a_request_that_comes_again_is_found_with_its_answer_and_its_first_place(copies):
    journal = copies.journal()
    entry = await journal.begin("k", "digest", 5, "place web")
    assert (entry.sequence, entry.answer) == (5, None)
    await journal.answer("k", entry, answer("yes"))
    again = await copies.journal().begin("k", "digest", 9, "place web")
    assert (again.sequence, again.answer) == (5, answer("yes"))


async def test_other_content_under_the_same_name_is_rejected_and_says_which_came_first_by_any_clock(copies):
    await copies.journal(clock=1_800_000_000.0).begin("k", "digest", 5, "place web")
    with pytest.raises(RequestRejected, match=r"place web that came first, at 2027-01-15T08:00:00Z \(number 5"):
        await copies.journal(clock=1.0).begin("k", "other", 9, "place api")


async def test_of_two_answers_to_a_request_the_first_stands(copies):
    one, other = copies.journal(), copies.journal()
    entry = await one.begin("k", "digest", 5, "place web")
    assert await one.answer("k", entry, answer("first")) == answer("first")
    assert await other.answer("k", entry, answer("second")) == answer("first")


async def test_a_later_request_waits_for_an_earlier_one_to_be_answered(copies):
    one, other = copies.journal(), copies.journal()
    entry = await one.begin("a", "1", 1, "")
    await one.take_turn(WEB, "a", SUBJECT, 1)
    await other.begin("b", "2", 2, "")
    with pytest.raises(Retry):
        await other.take_turn(WEB, "b", SUBJECT, 2)
    await other.take_turn(API, "b", SUBJECT, 2)
    await one.answer("a", entry, answer("yes"))
    await other.take_turn(WEB, "b", SUBJECT, 2)
    assert await other.is_last(WEB, "b")
    assert not await one.is_last(WEB, "a")


async def test_an_earlier_request_that_comes_to_hand_later_is_superseded(copies):
    journal = copies.journal()
    await journal.begin("b", "2", 2, "")
    await journal.take_turn(WEB, "b", SUBJECT, 2)
    with pytest.raises(RequestRejected) as told:
        await journal.take_turn(WEB, "a", SUBJECT, 1)
    assert told.value.code == "Superseded"


async def test_a_request_that_nobody_answers_is_passed_after_a_while(copies):
    journal = copies.journal()
    await journal.begin("a", "1", 1, "")
    await journal.take_turn(WEB, "a", SUBJECT, 1)
    with pytest.raises(Retry):
        await journal.take_turn(WEB, "b", SUBJECT, 2)
    copies.now = PATIENCE + 1
    await journal.take_turn(WEB, "b", SUBJECT, 2)


async def test_a_request_that_is_delivered_again_has_its_turn_still(copies):
    await copies.journal().begin("a", "1", 1, "")
    await copies.journal().take_turn(WEB, "a", SUBJECT, 1)
    await copies.journal().take_turn(WEB, "a", SUBJECT, 1)
