"""Streams and consumers as configurations of JetStream."""

import contextlib
import logging
from collections.abc import Mapping
from typing import Any

from shared.broker.bus import Consumer, Stream
from shared.broker.nats.client import JetStreamError, NatsClient

log = logging.getLogger("moorage.nats")

# JetStream's error codes
NAME_IN_USE = 10058
NO_STREAM = 10059
NO_CONSUMER = 10014
CREATE_FAILED = 10012

ADVISORIES = Stream(
    name="MOORAGE_ADVISORIES",
    subjects=("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>", "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>"),
    description="What the broker itself reports about messages that were given up, should the dead letters miss one",
    max_bytes=64 << 20,
)


_UNSET: dict[type, Any] = {bool: False, int: 0, str: "", list: []}
"""The values that a server leaves out of a configuration."""


async def ensure_stream(client: NatsClient, config: Mapping[str, Any]) -> None:
    """Create a stream, or update it to this configuration."""
    name = config["name"]
    try:
        await client.api(f"STREAM.CREATE.{name}", config)
    except JetStreamError as error:
        if error.code != NAME_IN_USE:
            raise
        present = (await client.api(f"STREAM.INFO.{name}"))["config"]
        # What is decided once, at the creation of a stream: where sequences start, and what can only be allowed.
        kept = {
            "first_seq": present.get("first_seq", 0),
            "allow_msg_ttl": config.get("allow_msg_ttl") or present.get("allow_msg_ttl", False),
        }
        if present.get("allow_msg_schedules"):
            kept |= {"allow_msg_schedules": True, "allow_rollup_hdrs": True}
            log.warning(
                "made by an older version, who publishes to it can empty it: delete it once, it is made anew",
                extra={"stream": name},
            )
        wanted = {**config, **kept}
        if any(present.get(field, _UNSET[type(value)]) != value for field, value in wanted.items()):
            await client.api(f"STREAM.UPDATE.{name}", wanted)


async def ensure_consumer(client: NatsClient, consumer: Consumer) -> None:
    """Create a durable consumer, or update it to this configuration."""
    create = f"CONSUMER.CREATE.{consumer.stream}.{consumer.name}.{consumer.subject}"
    request = {"stream_name": consumer.stream, "config": consumer_config(consumer)}
    try:
        await client.api(create, request)
    except JetStreamError as error:
        if error.code != CREATE_FAILED or "no such file" not in str(error):
            raise
        # nats-server (2.15.1) cannot make a consumer whose files it was still deleting, until it is told to delete it.
        with contextlib.suppress(JetStreamError):
            await client.api(f"CONSUMER.DELETE.{consumer.stream}.{consumer.name}")
        await client.api(create, request)


async def stream_info(client: NatsClient, name: str) -> dict[str, Any] | None:
    """A stream's configuration and state; None when there is no such stream."""
    try:
        return await client.api(f"STREAM.INFO.{name}")
    except JetStreamError as error:
        if error.code == NO_STREAM:
            return None
        raise


def stream_config(stream: Stream) -> dict[str, Any]:
    """A stream in JetStream's words; durations are nanoseconds there."""
    return {
        "name": stream.name,
        "description": stream.description,
        "subjects": list(stream.subjects),
        "retention": "limits",  # the only policy under which acknowledged ids survive a restart of the server
        "storage": "file",
        "discard": "old",
        "max_age": int(stream.max_age * 1e9),
        "max_bytes": stream.max_bytes,
        "max_msgs_per_subject": 1 if stream.last_per_subject else -1,
        "duplicate_window": int(min(stream.duplicate_window, stream.max_age) * 1e9),
        "num_replicas": stream.replicas,
        "allow_direct": True,
        # Whoever may publish on one subject could empty the stream by a rollup, and write to others by a schedule.
        "allow_rollup_hdrs": False,
        "allow_msg_schedules": False,
    }


def consumer_config(consumer: Consumer) -> dict[str, Any]:
    """A durable pull consumer in JetStream's words; no `backoff`, whose first value would replace `ack_wait`."""
    return {
        "durable_name": consumer.name,
        "name": consumer.name,
        "filter_subject": consumer.subject,
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": int(consumer.ack_wait * 1e9),
        "max_deliver": consumer.max_deliver,
        "max_ack_pending": -1,  # a delayed nak counts as pending: see Consumer
        "replay_policy": "instant",
    }
