"""Streams on a real server: made, changed to what is wanted, and what bounds the consumers that others make."""

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from shared.broker.bus import Stream
from shared.broker.nats.answers import JetStreamError
from shared.broker.nats.client import NatsClient
from shared.broker.nats.server import NatsServer
from shared.broker.nats.streams import ensure_stream, stream_config, stream_info

DAY = 86_400.0
READ = Stream(name="READ", subjects=("read.>",), description="What others read", unused_consumers=7 * DAY)


@pytest.fixture
async def client(nats_server: NatsServer) -> AsyncIterator[NatsClient]:
    client = await NatsClient.connect(nats_server.url, name="streams")
    with suppress(JetStreamError):
        await client.api("STREAM.DELETE.READ")
    yield client
    await client.close()


async def consumer(client: NatsClient, name: str, *, unused: float = 0.0) -> dict[str, Any]:
    """The configuration that a durable consumer of a stranger's has, who may ask for `unused` seconds."""
    config = {"durable_name": name, "ack_policy": "explicit", "inactive_threshold": int(unused * 1e9)}
    made = await client.api(f"CONSUMER.CREATE.READ.{name}", {"stream_name": "READ", "config": {**config, "name": name}})
    found: dict[str, Any] = made["config"]
    return found


async def test_a_consumer_that_nobody_uses_is_removed_by_the_server_whatever_its_maker_asks_for(
    client: NatsClient,
) -> None:
    await ensure_stream(client, stream_config(READ))
    assert (await consumer(client, "silent"))["inactive_threshold"] == 7 * DAY * 1e9
    with pytest.raises(JetStreamError, match="inactive threshold exceeds"):
        await consumer(client, "eternal", unused=8 * DAY)


async def test_no_more_consumers_are_made_than_a_stream_may_have(client: NatsClient) -> None:
    await ensure_stream(client, stream_config(msgspec.structs.replace(READ, most_consumers=2)))
    for name in ("first", "second"):
        await consumer(client, name)
    with pytest.raises(JetStreamError, match="maximum consumers limit reached"):
        await consumer(client, "third")


async def test_a_stream_of_an_earlier_release_is_given_its_bounds(client: NatsClient) -> None:
    earlier = {key: value for key, value in stream_config(READ).items() if "consumer" not in key}
    await ensure_stream(client, earlier)
    await ensure_stream(client, stream_config(msgspec.structs.replace(READ, most_consumers=2)))
    info = await stream_info(client, "READ")
    assert info is not None
    assert info["config"]["max_consumers"] == 2
    assert info["config"]["consumer_limits"] == {"inactive_threshold": 7 * DAY * 1e9}


async def test_a_consumer_beyond_the_bounds_to_come_keeps_no_worker_from_starting(
    client: NatsClient, caplog: pytest.LogCaptureFixture
) -> None:
    await ensure_stream(client, stream_config(msgspec.structs.replace(READ, unused_consumers=0.0)))
    await consumer(client, "eternal", unused=30 * DAY)
    await ensure_stream(client, stream_config(msgspec.structs.replace(READ, max_age=3600.0)))
    info = await stream_info(client, "READ")
    assert info is not None
    assert info["config"]["max_age"] == 3600 * 10**9
    assert "consumer_limits" not in json.dumps(info["config"]) or info["config"]["consumer_limits"] == {}
    assert "consumers keep a stream from its limits" in caplog.text
    assert "eternal" in caplog.records[-1].__dict__["reason"]


async def test_a_stream_whose_files_the_server_cannot_make_yet_is_made_as_soon_as_it_can(
    client: NatsClient, nats_server: NatsServer
) -> None:
    """As while it deletes the files of another of that name; here a file is in their way, once."""
    in_the_way = nats_server._store / "jetstream" / "$G" / "streams" / "READ"
    in_the_way.parent.mkdir(parents=True, exist_ok=True)
    in_the_way.write_text("")
    await ensure_stream(client, stream_config(READ))
    assert await stream_info(client, "READ") is not None
