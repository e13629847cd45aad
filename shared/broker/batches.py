"""Questions that go in one message, and their answers in another: what a message costs is paid once for all of them.

Questions of one owner that are asked on a subject in the same turn of the event loop go together. Nobody waits for
others to come, and no owner for what another asks. Whoever is asked answers each of them by itself, and says so where
one has no answer. Questions and answers are JSON.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from shared.broker.bus import Bus, Reject, Reply, Unanswered
from shared.broker.claims import ask
from shared.broker.services import CODE_HEADER, REASON_HEADER, answered, reply_of

BATCH_HEADER: Final = "Moorage-Questions"
"""How many questions a message has, where it is a list of them; its answer is a list too."""

MOST_TOGETHER: Final = 32
"""Questions in one message, which stay without an answer where whoever is asked dies with it in hand."""

IN_ONE_TURN: Final = 8
"""Questions of a message that are worked on in one turn of the event loop, which others wait for."""

LARGEST: Final = 128 * 1024
"""Bytes of a batch, and of its answer by what was answered last. What a message costs is little beside so many."""


class _Answer(msgspec.Struct):
    """The answer to one question of several; or, with a code, why there is none."""

    payload: msgspec.Raw
    code: str = ""
    reason: str = ""


_QUESTIONS = msgspec.json.Decoder(list[msgspec.Raw])
_ANSWERS = msgspec.json.Decoder(list[_Answer])
_encoded = msgspec.json.Encoder().encode


class _Waiting(NamedTuple):
    payload: bytes
    answer: asyncio.Future[bytes]


class Batches:
    """Asks on a bus, what is asked at the same time together."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._gathering: dict[tuple[str, str, int], list[_Waiting]] = {}
        self._answers: dict[str, int] = {}  # how large the last answer on a subject was

    async def ask(self, subject: str, payload: bytes, *, owner: str, timeout: float) -> bytes:
        """Ask, and return the answer, by claim check where that is too large for a message. Raises as `Bus.ask`."""
        loop = asyncio.get_running_loop()
        key = (subject, owner, int(loop.time() + timeout))  # who has less time left does not go with who has more
        others = self._gathering.get(key)
        if others is not None and self._has_room(subject, others, payload):
            answer: asyncio.Future[bytes] = loop.create_future()
            others.append(_Waiting(payload, answer))
            return await answer
        if not self._has_room(subject, (), payload):
            return await self._alone(subject, payload, timeout)
        self._gathering[key] = others = []
        try:
            await asyncio.sleep(0)  # those who ask in this turn come now
            self._close(key, others)
            if others:
                return await self._for_all(subject, payload, others, timeout)
            return await self._alone(subject, payload, timeout)
        except BaseException as error:
            self._close(key, others)
            for each in others:
                _fail(each.answer, error)
            raise

    def _close(self, key: tuple[str, str, int], others: Sequence[_Waiting]) -> None:
        """Nobody else goes with these."""
        if self._gathering.get(key) is others:
            del self._gathering[key]

    def _has_room(self, subject: str, others: Sequence[_Waiting], payload: bytes) -> bool:
        """Whether one more may go with who asked first and these others."""
        count = len(others) + 2
        asked = len(payload) + sum(len(each.payload) for each in others)
        return count <= MOST_TOGETHER and max(asked, count * self._answers.get(subject, 0)) <= LARGEST

    async def _alone(self, subject: str, payload: bytes, timeout: float) -> bytes:
        found = await ask(self._bus, subject, payload, timeout=timeout)
        self._answers[subject] = len(found)
        return found

    async def _for_all(self, subject: str, payload: bytes, others: Sequence[_Waiting], timeout: float) -> bytes:
        payloads = [payload, *(each.payload for each in others)]
        headers = {BATCH_HEADER: str(len(payloads))}
        joined = b"[" + b",".join(payloads) + b"]"
        own, *replies = _read(await ask(self._bus, subject, joined, timeout=timeout, headers=headers), len(payloads))
        self._answers[subject] = (len(own.payload) + sum(len(each.payload) for each in replies)) // len(payloads)
        for other, reply in zip(others, replies, strict=True):
            if not other.answer.done():  # else nobody waits for it any more
                _settle(other.answer, reply)
        return answered(own.payload, own.headers).payload


async def each_answered(
    payload: bytes, headers: Mapping[str, str], answer: Callable[[bytes], Awaitable[bytes]], group: str
) -> bytes:
    """The answer to what was asked, which may be several questions. Raises Reject for what is no list of them."""
    if BATCH_HEADER not in headers:
        return await answer(payload)
    try:
        questions = _QUESTIONS.decode(payload)
    except msgspec.DecodeError as error:
        raise Reject(f"not a list of questions: {error}") from None
    if len(questions) > MOST_TOGETHER:
        raise Reject(f"{len(questions)} questions in one message are more than {MOST_TOGETHER}")

    async def one(question: msgspec.Raw) -> Reply:
        return Reply(await answer(bytes(question)))

    replies: list[asyncio.Task[Reply]] = []
    async with asyncio.TaskGroup() as tasks:
        for question in questions:
            if replies and len(replies) % IN_ONE_TURN == 0:
                await asyncio.sleep(0)  # others have their turn
            replies.append(tasks.create_task(reply_of(one(question), group)))
    return _encoded([_written(each.result()) for each in replies])


def _written(reply: Reply) -> _Answer:
    if code := reply.headers.get(CODE_HEADER):
        return _Answer(msgspec.Raw(b"null"), code, reply.headers.get(REASON_HEADER, ""))
    return _Answer(msgspec.Raw(reply.payload))


def _read(payload: bytes, count: int) -> list[Reply]:
    try:
        found = _ANSWERS.decode(payload)
    except msgspec.DecodeError as error:
        raise Unanswered("Failed", f"the answers cannot be read: {error}") from None
    if len(found) != count:
        raise Unanswered("Failed", f"{count} questions have {len(found)} answers")
    return [
        Reply(b"", {CODE_HEADER: each.code, REASON_HEADER: each.reason}) if each.code else Reply(bytes(each.payload))
        for each in found
    ]


def _settle(answer: asyncio.Future[bytes], reply: Reply) -> None:
    try:
        answer.set_result(answered(reply.payload, reply.headers).payload)
    except Unanswered as error:
        answer.set_exception(error)


def _fail(answer: asyncio.Future[bytes], error: BaseException) -> None:
    if answer.done():
        return
    if isinstance(error, Unanswered):
        answer.set_exception(Unanswered(error.code, str(error)))
    elif isinstance(error, Exception):
        answer.set_exception(error)
    else:
        answer.set_exception(Unanswered("Unavailable", "who asked for several at once was stopped"))
