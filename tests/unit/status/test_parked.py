"""A message that was given up shows on its Placement, whichever worker gave it up and for whatever reason."""

from typing import Any, ClassVar

import msgspec
import pytest

from services.registry import load_all
from services.status.conditions import PARKED, parked, unparked
from services.status.parked import PARKED_SUBJECT, Parked, parked_of
from shared.aio.lru import Lru
from shared.api import Condition, get_condition
from shared.broker.bus import Consumer, Delivery, Reject
from shared.broker.dead import DEAD_LETTERS
from shared.broker.dispatch import dispatch
from shared.broker.memory.bus import MemoryBus
from shared.broker.subjects import covers
from shared.pipeline import topology
from shared.pipeline.messages import Message, encode
from tests.support.golden import sample

CONSUMED = [
    pytest.param(topology.consumer(worker, kind), kind, id=f"{worker.name}-{kind.stage}")
    for worker in load_all()
    for kind in worker.consumes
]
NOW = "2026-11-28T12:00:00Z"


class Hand:
    """A delivery in hand, of which it is noted that it was given up."""

    headers: ClassVar[dict[str, str]] = {}
    attempt = 1
    handed_on = False
    stored_at = 0.0
    pending = 0
    sequence = 7

    def __init__(self, message: Message, payload: bytes | None = None) -> None:
        self.subject = message.subject()
        self.payload = encode(message) if payload is None else payload
        self.given_up = False

    async def ack(self) -> None:
        raise AssertionError("it was not handled")

    async def nak(self, delay: float) -> None:
        raise AssertionError("it is not tried again")

    async def in_progress(self) -> None: ...

    async def terminate(self, reason: str) -> None:
        self.given_up = True


def message_of(kind: type[Message]) -> Message:
    made: Message = msgspec.convert(sample(msgspec.inspect.type_info(kind)), kind)
    return made


async def given_up(consumer: Consumer, hand: Hand, error: Exception) -> Parked | None:
    """What the dead letters tell of a message whose handler failed for the last time."""
    bus = MemoryBus()
    await bus.provision(topology.streams(), ())

    async def fail(delivery: Delivery) -> None:
        raise error

    failures: Lru[str, int] = Lru(10)
    failures.put("7", consumer.max_failures - 1)
    await dispatch(bus, consumer, hand, fail, failures)
    assert hand.given_up
    (letter,) = bus.broker.streams[DEAD_LETTERS.name].messages.values()
    assert covers(f"{PARKED_SUBJECT}.>", letter.subject)
    return parked_of(letter.subject, letter.headers, letter.payload)


@pytest.mark.parametrize("error", [Reject("no"), UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no"), KeyError("x")])
@pytest.mark.parametrize(("consumer", "kind"), CONSUMED)
async def test_whatever_a_worker_gives_up_is_known_by_its_placement(
    consumer: Consumer, kind: type[Message], error: Exception
) -> None:
    message = message_of(kind)
    found = await given_up(consumer, Hand(message), error)
    assert found is not None
    assert (found.placement, found.head, found.stage) == (message.about, message.at, kind.stage)
    assert found.worker == consumer.name.partition("-")[0]


@pytest.mark.parametrize("payload", [b"", b"{", b'{"head":1}', b"\xff", b"x" * 300_000])
async def test_what_cannot_be_read_is_known_by_where_it_came_from(payload: bytes) -> None:
    consumer, kind = CONSUMED[0].values[:2]
    message = message_of(kind)  # type: ignore[arg-type]
    found = await given_up(consumer, Hand(message, payload), Reject("no"))  # type: ignore[arg-type]
    assert found is not None
    assert (found.placement, found.head) == (message.about, None)


def test_a_head_of_another_placement_is_not_believed() -> None:
    one, other = message_of(CONSUMED[0].values[1]), b'{"placement":{"workspace":"w","namespace":"n","name":"x"}}'  # type: ignore[arg-type]
    found = parked_of(f"moorage.dead.{one.subject().removeprefix('moorage.')}", {}, other)
    assert found is not None
    assert found.head is None


@pytest.mark.parametrize("place", ["garbage.policy-discovered", "pipeline.nope.a.b.c", "pipeline.decided.a", "x"])
def test_what_is_about_no_placement_shows_nowhere(place: str) -> None:
    assert parked_of(f"moorage.dead.{place}", {}, b"{}") is None


def test_what_headers_say_is_shown_only_where_it_is_a_workers_name() -> None:
    found = parked_of(f"{PARKED_SUBJECT}.decided.w.n.x", {"Moorage-Consumer": "<b>-x"}, b"")
    assert found is not None
    assert found.worker == ""
    assert found.sentence.startswith("A worker could not handle")


def shown(stage: str) -> tuple[Condition, ...]:
    news = parked_of(f"{PARKED_SUBJECT}.{stage}.w.n.x", {"Moorage-Consumer": f"policy-{stage}"}, b"")
    assert news is not None
    return parked((), news, NOW, 1)


@pytest.mark.parametrize(
    ("stage", "decided", "applied", "stands"),
    [
        ("discovered", False, True, True),  # what an earlier round decided runs well
        ("discovered", True, False, False),
        ("assigned", False, False, True),
        ("assigned", False, True, False),  # it was replayed
    ],
)
def test_it_stands_until_a_later_round_came_through(stage: str, decided: bool, applied: bool, stands: bool) -> None:
    found: Any = get_condition(unparked(shown(stage), decided, applied, NOW, 1), PARKED)
    assert (found.status == "True") is stands


def test_a_placement_of_which_nothing_was_given_up_says_nothing_of_it() -> None:
    assert unparked((), True, True, NOW, 1) == ()
