"""A tenant has an account in NATS, by which it may ask as its users and read its events; it tries all else in vain.

What counts is not the answer but what is in the streams afterwards, and what the other tenant hears.
"""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
import pytest_asyncio

from services import PIPELINE
from shared.broker.bus import BusError, Forbidden
from shared.broker.nats import reader
from shared.broker.nats.answers import JetStreamError
from shared.broker.nats.client import NatsClient
from shared.broker.nats.permissions import API, API_PREFIX
from shared.model.events import SuspendedData
from shared.model.refs import PlacementRef
from shared.pipeline.events import EVENTS_STREAM, PlacementEvent
from shared.pipeline.requests import STREAM as REQUESTS
from shared.pipeline.requests import RequestSubject
from shared.pipeline.tenants import Tenant
from shared.pipeline.topology import PIPELINE_STREAM
from tests.support.intruding import BOUND, CONSUMERS, FORGED, PUSHES, STREAMS, picture, sent, verbs
from tests.support.secured import Secured, secured
from tests.support.waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

ATTACKER = Tenant(name="one", workspace="root:one", users=("alice",))
VICTIM = Tenant(name="two", workspace="root:two", users=("bob",))
NOBODY = Tenant(name="nobody", workspace="root:three")
MINE = RequestSubject("root:one", "alice", "place").subject
THEIRS = RequestSubject("root:two", "bob", "place").subject
MY_EVENTS, THEIR_EVENTS = "moorage.events.root=3Aone.>", "moorage.events.root=3Atwo.>"
OWN = (MINE, MINE.replace(".place", ".withdraw"))
PLACE = "root.shop.web"
VICTIMS = (
    THEIRS,
    "moorage.events.root=3Atwo.n.p.ready",
    "moorage.events.root=3Aone.n.p.ready",
    f"moorage.pipeline.assigned.{PLACE}",
    f"moorage.dead.pipeline.assigned.{PLACE}",
    "moorage.answers.root=3Atwo.inbox",
    "moorage.questions.requested",
    "$KV.moorage-heads.root.shop.web",
    "$KV.moorage-reservations.root.target.root.shop.web",
    f"$JS.API.STREAM.PURGE.{REQUESTS.name}",
    f"$JS.ACK.{PIPELINE_STREAM}.binding-assigned.1.1.1.1.0",
    "_INBOX.two.1",
)
"""Where nothing of the attacker's may arrive."""


def told(workspace: str, number: int) -> PlacementEvent:
    ref = PlacementRef(workspace=workspace, namespace="n", name="p")
    data = SuspendedData(placement=ref, uid=workspace, generation=1, attempt=1)
    return PlacementEvent(data=data, occasion=str(number))


class Court:
    """The server, the attacker, and all that the victim and the workers hear that is not theirs."""

    def __init__(self, nats: Secured, admin: NatsClient, attacker: NatsClient) -> None:
        self.nats = nats
        self.admin = admin
        self.attacker = attacker
        self.heard: list[str] = []
        self._happened = 0

    async def happens(self, workspace: str) -> str:
        """Something is told of a workspace; the id of the event."""
        self._happened += 1
        event = told(workspace, self._happened)
        await self.admin.request(event.subject, event.encoded({}), {"Nats-Msg-Id": event.id})
        return event.id

    async def stored(self) -> dict[str, Any]:
        """All that is stored, but for what the attacker may publish and what is told of its workspace."""
        return await picture(self.admin, but=(*OWN, MY_EVENTS))

    def overhear(self, message: Any) -> None:
        if message.data != b"canary":
            self.heard.append(message.subject)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def court(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Court]:
    async with AsyncExitStack() as stack:
        nats = await stack.enter_async_context(secured(tmp_path_factory.mktemp("court"), ATTACKER, VICTIM, NOBODY))
        admin, attacker, victim, intake = [
            await stack.enter_async_context(nats.client(name)) for name in ("admin", "one", "two", "intake")
        ]
        found = Court(nats, admin, attacker)
        for client, subject in ((victim, "_INBOX.two.>"), (victim, "_INBOX.waits.>"), (intake, "_INBOX.two.>")):
            await client.subscribe(subject, found.overhear)
            await client.flush()
        await admin.request(f"moorage.pipeline.assigned.{PLACE}", b"a true message")
        await admin.request("$KV.moorage-heads.root.shop.web", b'{"a true": "entry"}')
        await victim.request(THEIRS, b"a true request")
        await attacker.request(MINE, b"a request of mine")
        for workspace in ("root:one", "root:two"):
            await found.happens(workspace)
        yield found
        assert found.heard == []


@pytest.mark.parametrize("push", PUSHES)
async def test_a_consumer_that_pushes_elsewhere_writes_nothing_there(court: Court, push: str) -> None:
    before = await court.stored()
    config = {"filter_subject": MY_EVENTS, "deliver_policy": "all", **PUSHES[push]}

    async def make(client: NatsClient, name: str, where: str) -> None:
        named = {"name": name, **({"durable_name": name} if "durable_name" in config else {})}
        request = {"stream_name": EVENTS_STREAM, "config": {**config, **named, "deliver_subject": where}}
        await client.api(f"CONSUMER.CREATE.{EVENTS_STREAM}.{name}.{MY_EVENTS}", request)

    pushed = list[str]()

    def hear(message: Any) -> None:
        pushed.append(message.subject)

    kind = push.replace(" ", "-")
    for number, where in enumerate(VICTIMS):
        with suppress(JetStreamError):
            await make(court.attacker, f"push-{kind}-{number}", where)
    await court.admin.subscribe(f"control.{kind}", hear, queue="queue" if push == "queue" else "")
    await make(court.admin, f"control-{kind}", f"control.{kind}")
    await court.happens("root:one")
    await until(lambda: len(pushed) > 1)  # whoever may have something pushed has it by now
    await reads_its_events(court)
    assert await court.stored() == before
    assert court.heard == []


async def reads_its_events(court: Court) -> None:
    """The attacker reads, as it may, all that was told of its workspace: whatever was to be pushed before is."""
    async for message in reader.follow(court.attacker, EVENTS_STREAM, MY_EVENTS, {"deliver_policy": "all"}):
        if message is None:
            return


async def test_an_answer_that_is_to_go_elsewhere_writes_nothing_there(court: Court) -> None:
    before = await court.stored()
    create = {
        "stream_name": EVENTS_STREAM,
        "config": {"name": "mine", "filter_subject": MY_EVENTS, "ack_policy": "none"},
    }
    await court.attacker.api(f"CONSUMER.CREATE.{EVENTS_STREAM}.mine.{MY_EVENTS}", create)
    for where in VICTIMS:
        again = json.dumps({**create, "config": {**create["config"], "name": "another"}}).encode()
        await sent(court.attacker, f"{API_PREFIX}.CONSUMER.MSG.NEXT.{EVENTS_STREAM}.mine", b"1", reply=where)
        await sent(
            court.attacker, f"{API_PREFIX}.CONSUMER.CREATE.{EVENTS_STREAM}.another.{MY_EVENTS}", again, reply=where
        )
        await sent(court.attacker, MINE, reply=where)
        await sent(court.attacker, MINE.replace(".place", ".decide"), reply=where)
    await reads_its_events(court)
    assert await court.stored() == before
    assert court.heard == []


HEADERS = {
    "a rollup of everything": {"Nats-Rollup": "all"},
    "a rollup of the subject": {"Nats-Rollup": "sub"},
    "a schedule": {"Nats-Schedule": "@at 2020-01-01T00:00:00Z", "Nats-Schedule-Target": THEIRS},
    "a time to live": {"Nats-TTL": "1s"},
    "an expected stream": {"Nats-Expected-Stream": EVENTS_STREAM},
    "an expected last sequence": {"Nats-Expected-Last-Sequence": "1"},
    "an expected last id": {"Nats-Expected-Last-Msg-Id": "x"},
    "an expected sequence of another's subject": {
        "Nats-Expected-Last-Subject-Sequence": "0",
        "Nats-Expected-Last-Subject-Sequence-Subject": THEIRS,
    },
    "a batch": {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "1"},
    "a counter": {"Nats-Incr": "+1"},
    "a republished one": {"Nats-Stream": REQUESTS.name, "Nats-Subject": THEIRS, "Nats-Sequence": "1"},
    "an operation of buckets": {"KV-Operation": "PURGE"},
}


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
async def test_a_header_of_jetstream_on_a_request_changes_nothing_else(court: Court, headers: dict[str, str]) -> None:
    before = await court.stored()
    for subject in OWN:
        with suppress(BusError):  # refused, or taken as any other message is
            await court.attacker.request(subject, FORGED, headers, deadline=2.0)
    await court.attacker.request(MINE, b"an honest one")
    assert await court.stored() == before


async def test_neither_streams_nor_consumers_are_made_changed_mirrored_or_emptied(court: Court) -> None:
    before = await court.stored()
    for stream in STREAMS:
        stolen: dict[str, Any] = {
            f"STREAM.CREATE.S-{stream}": {"name": f"S-{stream}", "sources": [{"name": stream}]},
            f"STREAM.CREATE.R-{stream}": {
                "name": f"R-{stream}",
                "subjects": ["stolen"],
                "republish": {"src": ">", "dest": "moorage.pipeline.>"},
            },
            f"STREAM.CREATE.T-{stream}": {
                "name": f"T-{stream}",
                "sources": [{"name": stream, "subject_transforms": [{"src": ">", "dest": THEIRS}]}],
            },
            f"CONSUMER.CREATE.{stream}.mine.>": {"stream_name": stream, "config": {"name": "mine"}},
        }
        for verb, body in {**verbs(stream), **stolen}.items():
            for prefix in (API, API_PREFIX):
                await sent(court.attacker, f"{prefix}.{verb}", json.dumps(body).encode(), reply="_INBOX.answer")
    await reads_its_events(court)
    assert await court.stored() == before
    assert set((await court.admin.api("STREAM.NAMES"))["streams"]) == {*STREAMS, "MOORAGE_ADVISORIES"}


async def test_nothing_is_read_but_by_a_consumer_on_its_own_events(court: Court) -> None:
    for stream in STREAMS:
        for verb in ("STREAM.MSG.GET", "DIRECT.GET", "STREAM.INFO", "CONSUMER.NAMES", "CONSUMER.LIST"):
            with pytest.raises(Forbidden):
                await court.attacker.request(f"{API_PREFIX}.{verb}.{stream}", b'{"seq": 1}', deadline=BOUND)
    for subject in ("STREAM.NAMES", "STREAM.LIST", "INFO", f"DIRECT.GET.{EVENTS_STREAM}.{MY_EVENTS}"):
        with pytest.raises(Forbidden):
            await court.attacker.request(f"{API_PREFIX}.{subject}", b"", deadline=BOUND)


async def test_neither_the_messages_of_workers_are_taken_nor_answered(court: Court) -> None:
    before = await court.stored()
    for consumer in CONSUMERS:
        where = f"{consumer.stream}.{consumer.name}"
        for prefix in (API, API_PREFIX):
            await sent(court.attacker, f"{prefix}.CONSUMER.MSG.NEXT.{where}", b"10", reply="_INBOX.stolen")
        for number in range(1, 5):
            for answer in (b"+ACK", b"+TERM", b"-NAK"):
                await sent(court.attacker, f"$JS.ACK.{where}.1.{number}.{number}.1.0", answer)
    await reads_its_events(court)
    assert await court.stored() == before


@pytest.mark.parametrize("subject", [">", "_INBOX.>", "moorage.>", "$KV.>", "$JS.>", "$SYS.>", "moorage.answers.>"])
async def test_it_hears_neither_requests_nor_answers_nor_events_of_others(court: Court, subject: str) -> None:
    heard = list[str]()

    def hear(message: Any) -> None:
        heard.append(message.subject)

    async with court.nats.client("one") as attacker:
        with suppress(BusError):
            await attacker.subscribe(subject, hear)
            await attacker.flush()
        async with court.nats.client("two") as victim, court.nats.client("intake") as intake:
            await victim.request(THEIRS, b"a true request")
            await intake.send("moorage.answers.root=3Atwo.waits.here", b"canary")
            await intake.flush()
        await court.happens("root:two")
        with suppress(BusError):  # the server has sent by now what it would send
            await attacker.request(MINE, b"honest")
        assert [each for each in heard if not each.startswith(attacker._inbox)] == []


async def test_it_neither_takes_nor_changes_what_another_reads_without_knowing_its_name(court: Court) -> None:
    """Names of consumers are what readers alone know; those of all are told to nobody but the administrator."""
    mine = await court.happens("root:two")
    async with court.nats.client("two") as victim:
        found = []
        async for message in reader.follow(victim, EVENTS_STREAM, THEIR_EVENTS, {"deliver_policy": "all"}):
            if message is None:
                break
            found.append(json.loads(message.data)["id"])
            name = message.metadata.consumer
            stolen = {"name": name, "filter_subject": THEIR_EVENTS, "ack_policy": "none"}
            request = {"stream_name": EVENTS_STREAM, "config": stolen}
            with pytest.raises(BusError):
                await court.attacker.api(f"CONSUMER.CREATE.{EVENTS_STREAM}.{name}.{MY_EVENTS}", request)
    assert found[-1] == mine
    assert len(name) > len("watch-") + 12


async def test_an_account_without_rights_may_nothing_at_all(court: Court) -> None:
    async with court.nats.client("nobody") as nobody:
        for subject in ("anything", MINE, THEIRS, *VICTIMS):
            with pytest.raises(Forbidden):
                await nobody.request(subject, FORGED, deadline=BOUND)


@pytest.mark.parametrize("worker", PIPELINE)
async def test_a_worker_may_not_speak_as_a_tenant_either(court: Court, worker: str) -> None:
    async with court.nats.client(worker) as client:
        for subject in (MINE, THEIRS):
            with pytest.raises(Forbidden):
                await client.request(subject, FORGED, deadline=BOUND)
