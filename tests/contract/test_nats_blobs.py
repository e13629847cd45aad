"""Large payloads on a real server: what they take, how they make room, what an older version left."""

import base64
import hashlib
import json
import os
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.broker.bus import Bus
from shared.broker.nats import blobs
from shared.broker.nats.answers import api_answer
from shared.broker.nats.blobs import BUCKET, CONFIG, STREAM
from shared.broker.nats.bus import NatsBus
from tests.contract.conftest import Lab

LARGE = json.dumps([{"target": f"root:platform/east-{n}", "message": "lack batch/v1 CronJob"} for n in range(10_000)])


async def opened(lab: Lab) -> NatsBus:
    bus: Bus = await lab.bus()
    assert isinstance(bus, NatsBus)
    return bus


async def shrink(bus: NatsBus, **changes: Any) -> None:
    await bus.client.api(f"STREAM.UPDATE.{STREAM}", {**CONFIG, **changes})


async def stored(bus: NatsBus) -> int:
    return int((await bus.client.api(f"STREAM.INFO.{STREAM}"))["state"]["bytes"])


async def test_a_payload_of_text_takes_a_fraction_of_its_size(own_lab: Lab) -> None:
    bus = await opened(own_lab)
    claim = await bus.put_blob(LARGE.encode())
    assert await bus.get_blob(claim) == LARGE.encode()
    assert await stored(bus) < len(LARGE) / 5


async def test_the_oldest_payloads_make_room_for_new_ones(own_lab: Lab) -> None:
    bus = await opened(own_lab)
    await shrink(bus, max_bytes=2 << 20)
    payloads = [os.urandom(500_000) for _ in range(10)]
    claims = [await bus.put_blob(payload) for payload in payloads]
    assert await stored(bus) <= 2 << 20
    assert await bus.get_blob(claims[-1]) == payloads[-1]
    with pytest.raises(KeyError):
        await bus.get_blob(claims[0])
    assert await bus.put_blob(payloads[0]) == claims[0]
    assert await bus.get_blob(claims[0]) == payloads[0]


async def test_a_payload_whose_chunks_made_room_is_stored_again(own_lab: Lab) -> None:
    bus = await opened(own_lab)
    payload = os.urandom(500_000)
    claim = await bus.put_blob(payload)
    before = await stored(bus)
    assert await bus.put_blob(payload) == claim
    assert await stored(bus) == before
    first = (await bus.client.api(f"STREAM.INFO.{STREAM}"))["state"]["first_seq"]
    await bus.client.api(f"STREAM.PURGE.{STREAM}", {"seq": first + 1})
    with pytest.raises(KeyError):
        await bus.get_blob(claim)
    assert await bus.put_blob(payload) == claim
    assert await bus.get_blob(claim) == payload


async def test_what_an_older_version_stored_is_read_and_its_bucket_taken_over(own_lab: Lab) -> None:
    bus = await opened(own_lab)
    await shrink(bus, discard="new")
    payload = b"as it is" * 1000
    name = hashlib.sha256(payload).hexdigest()
    info = {"name": name, "nuid": "old", "chunks": 1, "mtime": datetime.now(UTC).isoformat()}
    meta = f"$O.{BUCKET}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"
    for subject, content in ((f"$O.{BUCKET}.C.old", payload), (meta, json.dumps(info).encode())):
        api_answer(await bus.client.request(subject, content, {}))
    bus = await opened(own_lab)
    assert (await bus.client.api(f"STREAM.INFO.{STREAM}"))["config"]["discard"] == "old"
    assert await bus.get_blob(name) == payload


async def test_what_unpacks_to_more_than_is_ever_stored_is_no_payload(
    nats_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = await nats_lab.bus()
    claim = await bus.put_blob(b"x" * 2_000)
    monkeypatch.setattr(blobs, "LARGEST", 1_000)
    with pytest.raises(KeyError):
        await bus.get_blob(claim)
    with pytest.raises(ValueError, match="at most 1000 are stored"):
        await bus.put_blob(b"y" * 2_000)
