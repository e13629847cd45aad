"""A worker that was compromised has its own user in NATS, and can do there what its declaration implies and no more.

Each attack is tried with the user of each worker. What counts is not the answer but what is in the streams afterwards.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from services import PIPELINE
from services.registry import load, load_all
from shared.broker.bus import BusError, Forbidden
from shared.broker.dead import CAUSE_HEADER, CONSUMER_HEADER, DEAD_STREAM, ORIGIN_HEADER
from shared.broker.nats.answers import JetStreamError
from shared.broker.nats.bus import NatsBus
from shared.broker.nats.client import NatsClient
from shared.broker.nats.permissions import API, API_PREFIX
from shared.broker.nats.store import bucket_name
from shared.pipeline import topology
from shared.pipeline.buckets import BUCKETS
from shared.pipeline.messages import MESSAGES
from shared.pipeline.requests import STREAM as REQUESTS
from shared.pipeline.rights import accounts
from shared.pipeline.topology import PIPELINE_STREAM
from tests.support.intruding import BOUND, CONSUMERS, FORGED, PUSHES, STREAMS, picture, sent, verbs
from tests.support.secured import Secured, secured

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACCOUNTS = {account.name: account for account in accounts(load_all())}
PLACE = "root.shop.web"
each_worker = pytest.mark.parametrize("worker", PIPELINE)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nats(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Secured]:
    async with secured(tmp_path_factory.mktemp("secured")) as found:
        async with found.client("admin") as admin:
            for bucket in BUCKETS:
                await admin.request(f"$KV.{bucket_name(bucket)}.true.entry", b'{"true": "entry"}')
            for consumer in CONSUMERS:
                true = "true.user.place" if consumer.stream == REQUESTS.name else "true.message"
                await admin.request(f"{consumer.subject.removesuffix('>')}{true}", b'{"true": "message"}')
            await admin.request(f"moorage.dead.pipeline.assigned.{PLACE}", b"parked")
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def admin(nats: Secured) -> AsyncIterator[NatsClient]:
    async with nats.client("admin") as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def intruder(nats: Secured, worker: str) -> AsyncIterator[NatsClient]:
    """The user of a worker in the hands of somebody else."""
    async with nats.client(worker) as client:
        yield client


async def answered(client: NatsClient, worker: str) -> None:
    """Wait until an honest question is answered, which was asked after all that went before."""
    bucket = bucket_name(topology.buckets(load(worker))[0])
    await client.api(f"STREAM.MSG.GET.KV_{bucket}", {"last_by_subj": f"$KV.{bucket}.true.entry"})


def stages_not_of(worker: str) -> list[str]:
    return [kind.stage for kind in MESSAGES if kind not in load(worker).emits]


def buckets_not_of(worker: str) -> list[str]:
    return [bucket_name(bucket) for bucket in BUCKETS if bucket.owner != worker]


def elsewhere(worker: str) -> list[str]:
    """Subjects that this worker must not write to: others' stages, buckets and dead letters."""
    dead = [f"moorage.dead.pipeline.{kind.stage}.{PLACE}" for kind in MESSAGES if kind not in load(worker).consumes]
    stages = [f"moorage.pipeline.{stage}.{PLACE}" for stage in stages_not_of(worker)]
    return [*stages, *(f"$KV.{name}.forged" for name in buckets_not_of(worker)), *dead]


def own(worker: str) -> list[str]:
    """Subjects that it may write to, as patterns."""
    return [right.subject for right in ACCOUNTS[worker].rights if not right.subject.startswith("$JS.")]


@each_worker
async def test_a_worker_that_publishes_what_is_not_its_own_is_refused(
    worker: str, admin: NatsClient, intruder: NatsClient
) -> None:
    before = await picture(admin)
    for subject in elsewhere(worker):
        with pytest.raises(Forbidden):
            await intruder.request(subject, FORGED, deadline=BOUND)
    assert await picture(admin) == before


@each_worker
async def test_a_worker_that_has_a_server_send_its_answer_elsewhere_writes_nothing_there(
    worker: str, admin: NatsClient, intruder: NatsClient
) -> None:
    """The subject of a reply is not held against permissions: who can have something sent there could write there."""
    before = await picture(admin, but=own(worker))
    bucket = bucket_name(topology.buckets(load(worker))[0])
    reader = await reading(intruder, bucket)
    stage = topology.consumers(load(worker))[0]
    for victim in elsewhere(worker):
        for prefix in (API, API_PREFIX):
            get = json.dumps({"last_by_subj": f"$KV.{bucket}.true.entry"}).encode()
            batch = json.dumps({"multi_last": [f"$KV.{bucket}.>"]}).encode()
            await sent(intruder, f"{prefix}.STREAM.MSG.GET.KV_{bucket}", get, reply=victim)
            await sent(intruder, f"{prefix}.STREAM.INFO.KV_{bucket}", b"", reply=victim)
            await sent(intruder, f"{prefix}.DIRECT.GET.KV_{bucket}", batch, reply=victim)
            await sent(intruder, f"{prefix}.DIRECT.GET.KV_{bucket}", get, reply=victim)
            await sent(intruder, f"{prefix}.CONSUMER.MSG.NEXT.KV_{bucket}.{reader}", b"1", reply=victim)
            await sent(intruder, f"{prefix}.CONSUMER.INFO.{PIPELINE_STREAM}.{stage.name}", b"", reply=victim)
        for mine in own(worker):
            await sent(intruder, mine.replace(">", "own"), FORGED, reply=victim)
    await answered(intruder, worker)
    assert await picture(admin, but=own(worker)) == before


async def reading(client: NatsClient, bucket: str) -> str:
    """A consumer on a bucket that it may read, as its views have."""
    config = {"name": "reader", "filter_subject": f"$KV.{bucket}.>", "ack_policy": "none", "deliver_policy": "all"}
    request = {"stream_name": f"KV_{bucket}", "config": config}
    await client.api(f"CONSUMER.CREATE.KV_{bucket}.reader.$KV.{bucket}.>", request)
    return "reader"


async def test_a_worker_that_has_a_bucket_pushed_into_the_pipeline_writes_nothing_there(
    nats: Secured, admin: NatsClient
) -> None:
    before = await picture(admin)
    made = 0
    for worker in PIPELINE:
        async with nats.client(worker) as client:
            bucket = bucket_name(topology.buckets(load(worker))[0])
            for number, config in enumerate(PUSHES.values()):
                for victim in elsewhere(worker)[:3]:
                    name = config.get("durable_name", f"push-{number}")
                    where = {"name": name, "filter_subject": f"$KV.{bucket}.>", "deliver_subject": victim}
                    request = {"stream_name": f"KV_{bucket}", "config": {**where, "deliver_policy": "all", **config}}
                    with suppress(JetStreamError):
                        await client.api(f"CONSUMER.CREATE.KV_{bucket}.{name}.$KV.{bucket}.>", request)
                        made += 1
    assert made
    for bucket in BUCKETS:  # what is written from now on is not pushed there either
        await admin.request(f"$KV.{bucket_name(bucket)}.true.entry", b'{"true": "entry"}')
    await asyncio.sleep(2.0)  # nothing tells that nothing was pushed
    entries = {subject for subject in before if subject.endswith("true.entry")}
    after = await picture(admin)
    assert {name: told for name, told in after.items() if name not in entries} == {
        name: told for name, told in before.items() if name not in entries
    }


SCHEDULED = {"Nats-Schedule": "@at 2020-01-01T00:00:00Z", "Nats-Schedule-Target": f"moorage.pipeline.assigned.{PLACE}"}
HEADERS: dict[str, dict[str, str]] = {
    "a rollup of everything": {"Nats-Rollup": "all"},
    "a rollup of the subject": {"Nats-Rollup": "sub"},
    "a schedule": SCHEDULED,
}


ANSWERED = 1.0  # seconds in which NATS answers what it takes or refuses; what goes past streams nobody answers


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
@each_worker
async def test_a_worker_that_adds_a_header_to_what_it_may_publish_changes_nothing_else(
    worker: str, headers: dict[str, str], admin: NatsClient, intruder: NatsClient
) -> None:
    mine = [subject.replace(">", "attack") for subject in own(worker)]
    before = await picture(admin, but=mine)
    for subject in mine:
        with suppress(BusError):  # refused, or taken as any other message is
            await intruder.request(subject, FORGED, headers, deadline=ANSWERED)
    await answered(intruder, worker)
    assert await picture(admin, but=mine) == before


@each_worker
async def test_a_worker_cannot_purge_delete_change_or_pause_anything(
    worker: str, admin: NatsClient, intruder: NatsClient
) -> None:
    before = await picture(admin)
    for stream in STREAMS:
        for verb, body in verbs(stream).items():
            for prefix in (API, API_PREFIX):
                with suppress(BusError):
                    await sent(intruder, f"{prefix}.{verb}", json.dumps(body).encode(), reply="_INBOX.answer")
    await answered(intruder, worker)
    assert await picture(admin) == before
    assert set((await admin.api("STREAM.NAMES"))["streams"]) == {*STREAMS, "MOORAGE_ADVISORIES"}


@each_worker
async def test_a_worker_cannot_take_or_answer_the_messages_of_another(
    worker: str, admin: NatsClient, intruder: NatsClient
) -> None:
    before = await picture(admin)
    mine = {consumer.name for consumer in topology.consumers(load(worker))}
    for consumer in CONSUMERS:
        if consumer.name not in mine:
            where = f"{consumer.stream}.{consumer.name}"
            for prefix in (API, API_PREFIX):
                await sent(intruder, f"{prefix}.CONSUMER.MSG.NEXT.{where}", b"10", reply="_INBOX.stolen")
            for number in range(1, 20):
                await sent(intruder, f"$JS.ACK.{where}.1.{number}.{number}.1.0", b"+TERM")
    await answered(intruder, worker)
    assert await picture(admin) == before


@each_worker
async def test_a_worker_reads_no_bucket_that_it_does_not_declare_and_no_dead_letters(
    worker: str, intruder: NatsClient
) -> None:
    declared = {f"KV_{bucket_name(bucket)}" for bucket in topology.buckets(load(worker))}
    for stream in (PIPELINE_STREAM, DEAD_STREAM, *(f"KV_{bucket_name(bucket)}" for bucket in BUCKETS)):
        if stream not in declared:
            for verb in (f"STREAM.MSG.GET.{stream}", f"DIRECT.GET.{stream}", f"CONSUMER.CREATE.{stream}.mine"):
                with pytest.raises(Forbidden):
                    await intruder.request(intruder.api_subject(verb), b'{"seq": 1}', deadline=BOUND)


@each_worker
@pytest.mark.parametrize("subject", [">", "_INBOX.>", "moorage.>", "$KV.>", "$JS.>", "$SYS.>"])
async def test_a_worker_hears_neither_messages_nor_answers_of_others(
    worker: str, subject: str, admin: NatsClient, intruder: NatsClient
) -> None:
    heard: list[str] = []

    def listen(message: Any) -> None:
        if message.data != b"canary":
            heard.append(message.subject)

    with suppress(BusError):
        await intruder.subscribe(subject, listen)
        await intruder.flush()
    await admin.request(f"$KV.{bucket_name(BUCKETS[0])}.true.entry", b'{"true": "entry"}')
    await admin.request("moorage.dead.pipeline.assigned.root.shop.web", b"parked")
    await answered(intruder, worker)
    own_answers = intruder._inbox
    assert [each for each in heard if not each.startswith(own_answers)] == []


async def test_a_worker_that_parks_a_forged_letter_cannot_have_the_operator_publish_it_elsewhere(
    nats: Secured, admin: NatsClient
) -> None:
    forged = f"moorage.pipeline.assigned.{PLACE}"
    headers = {ORIGIN_HEADER: forged, CONSUMER_HEADER: "binding-assigned", CAUSE_HEADER: "x"}
    async with nats.client("status") as intruder:
        bus = NatsBus(intruder)
        await bus.publish("moorage.dead.pipeline.reported.evil", FORGED, id="letter-1", headers=headers)
        await bus.publish("moorage.dead.garbage.status-reported", FORGED, id="letter-2", headers=headers)
    async with nats.client("operator") as client:
        bus = NatsBus(client)
        letters = [letter async for letter in bus.dead_letters() if ORIGIN_HEADER in letter.headers]
        assert len(letters) == 2
        for letter in letters:
            with suppress(ValueError):
                await bus.replay(letter)
    with pytest.raises(JetStreamError):
        await admin.api(f"STREAM.MSG.GET.{PIPELINE_STREAM}", {"last_by_subj": forged})


async def test_the_operators_user_reads_dead_letters_and_nothing_else(nats: Secured) -> None:
    async with nats.client("operator") as client:
        assert [letter async for letter in NatsBus(client).dead_letters()]
        for bucket in BUCKETS:
            with pytest.raises(Forbidden):
                await client.request(f"$KV.{bucket_name(bucket)}.forged", FORGED, deadline=BOUND)
            with pytest.raises(Forbidden):
                await client.api(f"STREAM.MSG.GET.KV_{bucket_name(bucket)}", {"seq": 1})


async def test_nobody_comes_in_without_a_key(nats: Secured, tmp_path: Path) -> None:
    with pytest.raises(Forbidden):
        await NatsClient.connect(nats.server.url, name="nobody")
