"""Whatever is published as a request is answered or parked with its cause, and delays nobody else's."""

import asyncio
import json

import pytest

from services.intake.core import MOST_VALUES
from shared.broker.bus import BusError
from shared.broker.nats.bus import NatsBus
from shared.broker.nats.client import NatsClient
from shared.broker.nats.server import NatsServer
from shared.cloudevents import MOST_BYTES, CloudEvent, structured
from shared.hub.resources import PLACEMENTS
from shared.pipeline.requests import STREAM, RequestSubject
from tests.support.asking import INBOX, data_of, place, request
from tests.support.client import if_there
from tests.support.manifests import deployment, placement
from tests.support.scene import RIVAL, TEAM
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(120)


def without_id(event: CloudEvent) -> bytes:
    members = json.loads(structured(event))
    del members["id"]
    return json.dumps(members).encode()


BAD = {
    "garbage": (b"\x00\xff", "InvalidEvent", "not UTF-8, at byte 1"),
    "nothing": (b"", "InvalidEvent", "no event in JSON"),
    "invalid UTF-8": (structured(place()).replace(b'"web"', b'"w\xffb"'), "InvalidEvent", "not UTF-8"),
    "no id": (without_id(place()), "InvalidEvent", "attribute id is missing"),
    "an unknown type": (structured(CloudEvent(id="1", source="/a", type="sold")), "InvalidEvent", "'sold'"),
    "as large as a message may be": (b" " * (MOST_BYTES - 8192), "InvalidEvent", "no event in JSON"),
    "deeply nested": (b'{"data":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "InvalidEvent", "nested too deeply"),
    "a reply subject of ours": (
        structured(place(inbox="moorage.pipeline.assigned.a.b.c.d")),
        "InvalidEvent",
        "answers go to subjects below _INBOX.",
    ),
    "another workspace": (
        structured(request("place", {"placement": placement("web"), "workspace": RIVAL})),
        "NotTheSubjects",
        "another workspace",
    ),
    "another user": (
        structured(request("place", {"placement": placement("web"), "user": "mallory"})),
        "NotTheSubjects",
        "another user",
    ),
    "a time of another century": (
        structured(request("place", [], time="1903-01-01T00:00:00Z")),
        "InvalidRequest",
        "data",
    ),
    "a kind that is not served": (
        structured(
            request("place", {"placement": placement("web"), "objects": [{**deployment(), "apiVersion": "apps/v9"}]})
        ),
        "InvalidRequest",
        "not v9",
    ),
    "as many elements as a message holds": (
        structured(request("place", {"placement": {**placement("web"), "spec": {"workload": [0] * 340_000}}})),
        "InvalidRequest",
        "more than 50000 values",
    ),
    "a namespace that is not there": (
        structured(request("place", placement("web", namespace="nowhere"))),
        "NotFound",
        "nowhere",
    ),
}


@pytest.mark.parametrize("case", BAD)
async def test_what_cannot_be_carried_out_is_answered_and_parked_with_its_cause(opened_desk, case):
    payload, code, reason = BAD[case]
    alice = opened_desk.alice
    answer = await alice.ask(payload)
    assert answer.type == "io.moorage.placement.rejected.v1"
    data = data_of(answer)
    assert data["code"] == code
    assert reason in data["message"]
    (cause,) = await until(alice.dead)
    assert reason in cause
    assert await if_there(opened_desk.scene.team.get(PLACEMENTS, "web", "shop")) is None
    assert {each.subject for each in alice.bus.broker.told} <= {INBOX, "moorage.answers.root=3Ateam.somebody.1"}


async def test_who_sent_no_id_but_an_inbox_is_told_there(opened_desk):
    await opened_desk.alice.ask(without_id(place()))
    (told,) = opened_desk.alice.told()
    assert "id is missing" in data_of(told)["message"]


async def test_so_many_elements_that_the_hub_complains_at_length_are_refused(opened_desk):
    made = {**placement("web"), "spec": {"workload": [0] * (MOST_VALUES - 20)}}
    answer = await opened_desk.alice.ask(request("place", made))
    assert data_of(answer)["code"] == "InvalidRequest"


async def test_a_time_from_the_future_or_the_past_changes_nothing(opened_desk):
    alice = opened_desk.alice
    for name, time in (("old", "1970-01-01T00:00:00Z"), ("new", "2999-12-31T23:59:59+14:00")):
        answer = await alice.ask(request("place", placement(name), time=time))
        assert answer.type.endswith(".accepted.v1")


async def test_what_is_too_large_to_be_kept_is_parked_without_its_content(opened_desk):
    alice = opened_desk.alice
    await alice.ask(b"[" + b"1," * 400_000 + b"1]")
    (letter,) = [each async for each in alice.bus.dead_letters()]
    assert letter.payload == b""
    assert "bytes are not kept" in letter.cause


async def test_a_subject_that_spells_a_name_in_another_way_is_parked(opened_desk):
    alice = opened_desk.alice
    await alice.bus.publish("moorage.requests.=72oot.alice.place", structured(place()), id="1")
    (cause,) = await until(alice.dead)
    assert "no subject of requests" in cause
    assert not alice.events()


async def test_a_burst_of_bad_requests_of_one_workspace_delays_no_other(opened_desk):
    alice = opened_desk.alice
    burst = [alice.publish(b"garbage", workspace=RIVAL) for _ in range(300)]
    await asyncio.gather(*burst, alice.publish(place("web")))  # all at once: none is rejected before the last is there
    (answer,) = await until(alice.told)
    assert alice.events().index(answer) < 250


@pytest.mark.parametrize(
    "size", [(1 << 20) + 1, 2_000_000, 100 << 20], ids=["a byte more", "a million elements", "100 MiB"]
)
async def test_what_is_larger_than_a_message_is_refused_by_the_client_and_by_nats_itself_and_stored_nowhere(
    tmp_path, size
):
    subject = RequestSubject(TEAM, "alice", "place").subject
    async with NatsServer(tmp_path / "nats") as server:
        client = await NatsClient.connect(server.url, name="publisher")
        bus = NatsBus(client)
        await bus.provision((STREAM,), ())
        with pytest.raises(BusError, match="maximum payload"):
            await client.send(subject, b" " * size)
        assert "maximum payload violation" in await said_to(server.url, subject, size)
        await client.request(subject, b"another's, which is taken")
        assert len([each async for each in bus.waiting(STREAM.name, subject, 1 << 60)]) == 1
        await client.close()


async def said_to(url: str, subject: str, size: int) -> str:
    """What NATS says to somebody who does not ask how much it takes, before it closes the connection."""
    host, _, port = url.removeprefix("nats://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    await reader.readline()
    writer.write(b'CONNECT {"verbose":false}\r\n' + f"PUB {subject} {size}\r\n".encode())
    try:
        async with asyncio.timeout(20):
            return (await reader.read()).decode().lower()
    finally:
        writer.close()
