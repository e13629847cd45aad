"""Questions that are asked at the same time go in one message, and each has its own answer."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from shared.broker.batches import BATCH_HEADER, IN_ONE_TURN, LARGEST, MOST_TOGETHER, Batches, each_answered
from shared.broker.bus import Asked, Reject, Reply, Retry, Service, Unanswered
from shared.broker.memory.bus import MemoryBus

SUBJECT = "moorage.questions.toy"
BOUND = 5.0


class Desk:
    """Answers a number with itself, doubled; `messages` says how many questions came in each message."""

    def __init__(self) -> None:
        self.bus = MemoryBus()
        self.batches = Batches(self.bus)
        self.messages: list[int] = []
        self.release = asyncio.Event()
        self.release.set()
        self.padding = ""

    async def serve(self) -> None:
        await self.bus.serve(Service(subject=SUBJECT, group="toy"), self._answer)

    async def _answer(self, asked: Asked) -> Reply:
        self.messages.append(int(asked.headers.get(BATCH_HEADER, 1)))
        await self.release.wait()
        return Reply(await each_answered(asked.payload, asked.headers, self._one, "toy"))

    async def _one(self, question: bytes) -> bytes:
        match number := json.loads(question):
            case 13:
                raise Retry(1.0, "not today")
            case "no number":
                raise Reject("that is none")
            case 7:
                raise ZeroDivisionError
        return json.dumps([number * 2, self.padding]).encode()

    async def ask(self, question: int | str, owner: str = "a") -> int:
        payload = json.dumps(question).encode()
        return json.loads(await self.batches.ask(SUBJECT, payload, owner=owner, timeout=BOUND))[0]

    async def all(self, *questions: int | str) -> list[int | str]:
        """Of each the answer, or the code that says why there is none."""
        found = await asyncio.gather(*map(self.ask, questions), return_exceptions=True)
        return [each.code if isinstance(each, Unanswered) else each for each in found]


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    found = Desk()
    await found.serve()
    yield found
    await found.bus.close()


async def test_what_is_asked_at_the_same_time_goes_in_one_message_and_each_has_its_answer(desk: Desk) -> None:
    assert await desk.all(*range(5)) == [0, 2, 4, 6, 8]
    assert desk.messages == [5]


async def test_who_asks_alone_asks_as_ever(desk: Desk) -> None:
    assert [await desk.ask(1), await desk.ask(2)] == [2, 4]
    assert desk.messages == [1, 1]


async def test_there_are_so_many_in_one_message_at_most(desk: Desk) -> None:
    questions = range(100, 100 + 2 * MOST_TOGETHER + 1)
    assert await desk.all(*questions) == [2 * each for each in questions]
    assert desk.messages == [MOST_TOGETHER, MOST_TOGETHER, 1]


async def test_others_have_their_turns_while_a_message_of_many_questions_is_worked_on() -> None:
    turns, ended, worked = 0, False, list[int]()

    async def one(question: bytes) -> bytes:
        worked.append(turns)
        return question

    async def other() -> None:
        nonlocal turns
        while not ended:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    questions = json.dumps(list(range(MOST_TOGETHER))).encode()
    found = json.loads(await each_answered(questions, {BATCH_HEADER: str(MOST_TOGETHER)}, one, "toy"))
    ended = True
    await beside
    assert [each["payload"] for each in found] == list(range(MOST_TOGETHER))
    assert max(Counter(worked).values()) <= IN_ONE_TURN


async def test_no_owner_waits_for_what_another_asks(desk: Desk) -> None:
    assert await asyncio.gather(desk.ask(1, "a"), desk.ask(2, "b"), desk.ask(3, "a")) == [2, 4, 6]
    assert sorted(desk.messages) == [1, 2]


async def test_where_one_has_no_answer_the_others_have_theirs(desk: Desk) -> None:
    assert await desk.all(1, 13, "no number", 7, 2) == [2, "Unavailable", "Invalid", "Failed", 4]
    assert await desk.all(13, 1) == ["Unavailable", 2]


async def test_where_nobody_answers_all_are_told() -> None:
    assert await Desk().all(1, 2, 3) == ["Nobody"] * 3


async def test_where_who_asked_first_gives_up_the_others_are_told(desk: Desk) -> None:
    desk.release.clear()
    first, *others = [asyncio.create_task(desk.ask(number)) for number in range(3)]
    await asyncio.sleep(0)
    first.cancel()
    found = await asyncio.gather(*others, return_exceptions=True)
    assert [each.code for each in found if isinstance(each, Unanswered)] == ["Unavailable"] * 2


async def test_one_that_gives_up_takes_nothing_from_the_others(desk: Desk) -> None:
    desk.release.clear()
    asked = [asyncio.create_task(desk.ask(number)) for number in range(3)]
    for _ in range(5):
        await asyncio.sleep(0)
    asked[1].cancel()
    desk.release.set()
    assert [await asked[0], await asked[2]] == [0, 4]


async def test_what_has_large_answers_is_asked_one_by_one_until_they_are_small_again(desk: Desk) -> None:
    desk.padding = "x" * LARGEST
    await desk.ask(1)
    await desk.all(1, 2, 3)
    assert desk.messages == [1, 1, 1, 1]
    desk.padding = ""
    await desk.ask(1)
    await desk.all(1, 2, 3)
    assert desk.messages[-1] == 3


async def test_what_is_no_list_of_questions_is_refused(desk: Desk) -> None:
    for payload in (b"1", b"[1", json.dumps([1] * (MOST_TOGETHER + 1)).encode()):
        with pytest.raises(Unanswered) as found:
            await desk.bus.ask(SUBJECT, payload, timeout=BOUND, headers={BATCH_HEADER: "2"})
        assert found.value.code == "Invalid"


@pytest.mark.parametrize("answer", [b"", b"[]", b'[{"payload": 1}]', b'{"payload": 1}'])
async def test_answers_that_do_not_fit_the_questions_are_none(answer: bytes) -> None:
    async def wrong(_: Asked) -> Reply:
        return Reply(answer)

    desk = Desk()
    await desk.bus.serve(Service(subject=SUBJECT, group="toy"), wrong)
    assert await desk.all(1, 2) == ["Failed", "Failed"]
    await desk.bus.close()
