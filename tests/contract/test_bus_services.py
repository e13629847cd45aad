"""Questions and answers: plain request and reply, which every bus does alike."""

import asyncio

import pytest

from shared.broker.bus import Asked, Reject, Reply, Retry, Service, Unanswered
from tests.contract.conftest import Lab
from tests.support.waiting import until

BOUND = 5.0


def subject_of(lab: Lab, token: str) -> str:
    """No stream takes it: JetStream would answer, too."""
    return f"moorage.questions.{lab.token}.{token}"


def service(lab: Lab, token: str, **settings) -> Service:
    return Service(subject=subject_of(lab, token), group="answering", **settings)


async def echo(asked: Asked) -> Reply:
    return Reply(asked.subject.rpartition(".")[2].encode() + b":" + asked.payload, {"seen": asked.headers.get("x", "")})


async def refused(bus, subject: str, *, timeout: float = BOUND) -> Unanswered:
    with pytest.raises(Unanswered) as found:
        await bus.ask(subject, b"?", timeout=timeout)
    return found.value


async def test_a_question_is_answered_with_its_subject_payload_and_headers_known(lab: Lab):
    bus = await lab.bus()
    await bus.serve(service(lab, "*"), echo)
    found = await bus.ask(subject_of(lab, "a"), b"what", timeout=BOUND, headers={"x": "y"})
    assert found.payload == b"a:what"
    assert found.headers["seen"] == "y"


async def test_where_nobody_serves_who_asks_is_told_at_once(lab: Lab):
    bus = await lab.bus()
    assert (await refused(bus, subject_of(lab, "a"))).code == "Nobody"


async def test_each_question_goes_to_one_copy_of_a_group_and_all_have_their_share(lab: Lab):
    first, second = await lab.bus(), await lab.bus()
    served: list[int] = []

    async def serve(bus, number: int) -> None:
        async def count(asked: Asked) -> Reply:
            served.append(number)
            return Reply(b"")

        await bus.serve(service(lab, "a"), count)

    await serve(first, 1)
    await serve(second, 2)
    for _ in range(50):
        await first.ask(subject_of(lab, "a"), b"", timeout=BOUND)
    assert len(served) == 50
    assert set(served) == {1, 2}


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (Retry(1.0, "not yet"), "Unavailable", "not yet"),
        (Reject("no\nsuch thing, é"), "Invalid", "no such thing, ?"),
        (RuntimeError("a secret"), "Failed", "answering failed: RuntimeError"),
    ],
)
async def test_how_a_handler_ends_is_told_and_the_next_question_is_answered(lab: Lab, error, code, reason, caplog):
    bus = await lab.bus()
    failures = [error]

    async def handle(asked: Asked) -> Reply:
        if failures:
            raise failures.pop()
        return Reply(b"fine")

    await bus.serve(service(lab, "a"), handle)
    found = await refused(bus, subject_of(lab, "a"))
    assert (found.code, str(found)) == (code, reason)
    assert (await bus.ask(subject_of(lab, "a"), b"", timeout=BOUND)).payload == b"fine"


async def test_an_answer_that_does_not_come_is_waited_for_no_longer_than_asked(lab: Lab):
    bus, release = await lab.bus(), asyncio.Event()

    async def handle(asked: Asked) -> Reply:
        await release.wait()
        return Reply(b"late")

    await bus.serve(service(lab, "a"), handle)
    assert (await refused(bus, subject_of(lab, "a"), timeout=0.05)).code == "Timeout"
    release.set()
    assert (await bus.ask(subject_of(lab, "a"), b"", timeout=BOUND)).payload == b"late"


async def test_beyond_its_concurrency_a_copy_says_that_it_is_busy(lab: Lab):
    bus, release, entered = await lab.bus(), asyncio.Event(), []

    async def handle(asked: Asked) -> Reply:
        entered.append(asked)
        await release.wait()
        return Reply(b"done")

    await bus.serve(service(lab, "a", concurrency=2), handle)
    subject = subject_of(lab, "a")
    held = [asyncio.create_task(bus.ask(subject, b"", timeout=BOUND)) for _ in range(2)]
    await until(lambda: len(entered) == 2)
    assert (await refused(bus, subject)).code == "Busy"
    release.set()
    assert [reply.payload for reply in await asyncio.gather(*held)] == [b"done", b"done"]


async def test_a_copy_that_is_drained_answers_what_it_has_and_takes_nothing_new(lab: Lab):
    bus, other, release, entered = await lab.bus(), await lab.bus(), asyncio.Event(), []

    async def handle(asked: Asked) -> Reply:
        entered.append(asked)
        await release.wait()
        return Reply(b"done")

    serving = await bus.serve(service(lab, "a"), handle)
    subject = subject_of(lab, "a")
    held = asyncio.create_task(other.ask(subject, b"", timeout=BOUND))
    await until(lambda: entered)
    draining = asyncio.create_task(serving.drain(BOUND))

    async def nobody() -> bool:
        try:
            await other.ask(subject, b"", timeout=0.05)
        except Unanswered as error:
            return error.code == "Nobody"
        return False

    await until(nobody)
    release.set()
    assert await draining
    assert (await held).payload == b"done"


async def test_a_handler_that_does_not_end_is_cancelled_when_its_copy_is_drained(lab: Lab):
    bus, entered = await lab.bus(), []

    async def handle(asked: Asked) -> Reply:
        entered.append(asked)
        await asyncio.Event().wait()
        return Reply(b"")

    serving = await bus.serve(service(lab, "a"), handle)
    asking = asyncio.create_task(refused(bus, subject_of(lab, "a"), timeout=0.3))
    await until(lambda: entered)
    assert not await serving.drain(0.01)
    assert (await asking).code == "Timeout"


async def test_an_answer_that_no_message_can_hold_is_told_as_a_failure(nats_lab: Lab):
    bus = await nats_lab.bus()

    async def handle(asked: Asked) -> Reply:
        return Reply(b"x" * (2 << 20))

    await bus.serve(service(nats_lab, "a"), handle)
    found = await refused(bus, subject_of(nats_lab, "a"))
    assert found.code == "Failed"
    assert "the broker takes" in str(found)
    with pytest.raises(ValueError, match="the broker takes"):
        await bus.ask(subject_of(nats_lab, "a"), b"x" * (2 << 20), timeout=BOUND)


async def test_questions_are_answered_again_after_the_server_came_back(own_lab: Lab, own_server):
    bus = await own_lab.bus()
    await bus.serve(service(own_lab, "*"), echo)
    own_server.kill()

    async def answered() -> bool:
        try:
            return (await bus.ask(subject_of(own_lab, "a"), b"", timeout=0.5)).payload == b"a:"
        except Unanswered:
            return False

    await until(answered)
