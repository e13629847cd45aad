"""Questions between the accounts of workers on a real nats-server: only who declares it may ask, and only who is asked
may answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from services.cli.nats import keys_in
from shared.broker.bus import Asked, Forbidden, Reply, Service, Unanswered
from shared.broker.nats.bus import NatsBus
from shared.broker.nats.client import NatsClient
from shared.broker.nats.options import NatsOptions
from shared.broker.nats.permissions import Account, asking, configuration, publishing
from shared.broker.nats.server import NatsServer
from tests.support.waiting import until

SUBJECT = "moorage.questions.requested"
BOUND = 5.0
ACCOUNTS = (
    Account(name="answering", summary="", rights=(), serves=(SUBJECT,)),
    Account(name="asking", summary="", rights=asking(SUBJECT, "answering")),
    Account(name="other", summary="", rights=publishing("moorage.pipeline.reported.>")),
    Account(name="nobody", summary="", rights=()),
)


@pytest.fixture
async def dial(tmp_path: Path) -> AsyncIterator:
    keys = keys_in(tmp_path / "seeds", ("admin", *(account.name for account in ACCOUNTS)))

    @asynccontextmanager
    async def connect(name: str) -> AsyncIterator[NatsBus]:
        options = NatsOptions(nkey_seed_file=str(tmp_path / "seeds" / f"{name}.nk"))
        bus = NatsBus(await NatsClient.connect(server.url, name=name, options=options))
        yield bus
        await bus.close()

    async with (
        NatsServer(tmp_path / "nats", config={"accounts": configuration(ACCOUNTS, keys)}) as server,
        AsyncExitStack() as stack,
    ):

        async def dial(name: str) -> NatsBus:
            return await stack.enter_async_context(connect(name))

        yield dial


async def echo(asked: Asked) -> Reply:
    return Reply(b"answer to " + asked.payload, {"said": "aloud"})


async def test_who_declares_it_may_ask_and_is_answered_by_the_copies_in_turn(dial) -> None:
    first, second, asker = await dial("answering"), await dial("answering"), await dial("asking")
    service = Service(subject=SUBJECT, group="answering")
    await first.serve(service, echo)
    await second.serve(service, echo)
    for _ in range(20):
        found = await asker.ask(SUBJECT, b"this", timeout=BOUND)
        assert (found.payload, found.headers["said"]) == (b"answer to this", "aloud")


async def test_where_nobody_serves_it_the_asker_is_told_across_accounts(dial) -> None:
    await dial("answering")
    asker = await dial("asking")
    with pytest.raises(Unanswered) as found:
        await asker.ask(SUBJECT, b"", timeout=1.0)
    assert found.value.code == "Nobody"


async def test_nobody_else_may_ask(dial) -> None:
    heard: list[Asked] = []

    async def hear(asked: Asked) -> Reply:
        heard.append(asked)
        return Reply(b"")

    answering, other = await dial("answering"), await dial("other")
    await answering.serve(Service(subject=SUBJECT, group="answering"), hear)
    with pytest.raises(Forbidden):
        await other.ask(SUBJECT, b"", timeout=BOUND)
    assert not heard


@pytest.mark.parametrize("name", ["asking", "other"])
async def test_nobody_else_may_serve(dial, name) -> None:
    intruder = await dial(name)
    with pytest.raises(Forbidden):
        await intruder.serve(Service(subject=SUBJECT, group="answering"), echo)


async def test_an_answer_goes_to_who_asked_and_nowhere_else(dial) -> None:
    """Also where who asks names a subject of others for it."""
    answering, asker, other = await dial("answering"), await dial("asking"), await dial("other")
    answered, heard = asyncio.Event(), []

    async def tell(asked: Asked) -> Reply:
        answered.set()
        return Reply(b"secret")

    def hear(message) -> None:
        heard.append(message)

    await answering.serve(Service(subject=SUBJECT, group="answering"), tell)
    for bus in (answering, other):
        await bus.client.subscribe("_INBOX.stolen", hear)
    await asker.client.send(SUBJECT, b"", reply="_INBOX.stolen")
    async with asyncio.timeout(BOUND):
        await answered.wait()
    for bus in (answering, other):
        await bus.client.flush()
    assert not heard


async def test_who_answers_may_publish_nothing_else(dial) -> None:
    answering, asker = await dial("answering"), await dial("asking")

    async def stray(asked: Asked) -> Reply:
        await answering.client.send("moorage.pipeline.requested.a.b.c", b"forged")
        await answering.client.flush()
        return Reply(b"")

    denied: list[str] = []

    class Listener:
        def reconnected(self) -> None: ...

        def denied(self, subject: str, reason: str) -> None:
            denied.append(subject)

    answering.client.listeners.add(Listener())
    await answering.serve(Service(subject=SUBJECT, group="answering"), stray)
    await asker.ask(SUBJECT, b"", timeout=BOUND)
    await until(lambda: denied == ["moorage.pipeline.requested.a.b.c"])


@pytest.mark.parametrize("subject", ["anything", "_INBOX.any", SUBJECT, "$JS.API.INFO"])
async def test_an_account_without_rights_may_publish_nothing_not_even_to_itself(dial, subject: str) -> None:
    nobody = await dial("nobody")
    with pytest.raises(Forbidden):
        await nobody.ask(subject, b"", timeout=BOUND)
