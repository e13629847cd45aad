"""Streams and consumers as configurations of JetStream."""

import asyncio
import base64
import contextlib
import logging
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from shared.broker.bus import Consumer, Stream
from shared.broker.nats.answers import JetStreamError
from shared.broker.nats.client import NatsClient

log = logging.getLogger("moorage.nats")

# JetStream's error codes
NAME_IN_USE = 10058
NO_STORE = 10049
NO_STREAM = 10059
NO_MESSAGE = 10037
NO_CONSUMER = 10014
CREATE_FAILED = 10012

ADVISORIES = Stream(
    name="MOORAGE_ADVISORIES",
    subjects=("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>", "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>"),
    description="What the broker itself reports about messages that were given up, should the dead letters miss one",
    max_bytes=64 << 20,
)


CONSUMER_LIMITS = "consumer_limits"

FOUND_WITHIN = 10.0  # seconds in which a stream whose name is taken has to be there, or can be made
PAUSE = 0.05  # seconds between two looks for it

_UNSET: dict[type, Any] = {bool: False, int: 0, str: "", list: [], dict: {}}
"""The values that a server leaves out of a configuration."""


async def ensure_stream(client: NatsClient, config: Mapping[str, Any]) -> None:
    """Create a stream, or update it to this configuration."""
    name = config["name"]
    present = await _created(client, config)
    if present is None:
        return
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
        await _update(client, wanted, present)


async def _created(client: NatsClient, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Create a stream; where there is one of its name, the configuration of that.

    In a cluster a stream that somebody else is making has its name before it can be found, and a server that is still
    deleting the files of a stream cannot make another of its name: then it is asked for again.
    """
    name, loop = config["name"], asyncio.get_running_loop()
    until = loop.time() + FOUND_WITHIN
    while True:
        try:
            await client.api(f"STREAM.CREATE.{name}", config)
        except JetStreamError as error:
            if error.code not in (NAME_IN_USE, NO_STORE):
                raise
            found = await stream_info(client, name)
            if found is not None:
                present: dict[str, Any] = found["config"]
                return present
            if loop.time() > until:
                raise
            await asyncio.sleep(PAUSE)
        else:
            return None


async def _update(client: NatsClient, wanted: Mapping[str, Any], present: Mapping[str, Any]) -> None:
    """Update a stream. Where somebody's consumer is beyond the limits that it is to have, its present ones stay."""
    subject = f"STREAM.UPDATE.{wanted['name']}"
    try:
        await client.api(subject, wanted)
    except JetStreamError as error:
        if "violates consumers" not in str(error):
            raise
        log.warning("consumers keep a stream from its limits", extra={"stream": wanted["name"], "reason": str(error)})
        await client.api(subject, {**wanted, CONSUMER_LIMITS: present.get(CONSUMER_LIMITS, {})})


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


class StoredMessage(NamedTuple):
    """A message as a stream has it."""

    subject: str
    sequence: int
    payload: bytes
    headers: Mapping[str, str]


async def stored(client: NatsClient, stream: str, which: Mapping[str, Any]) -> StoredMessage | None:
    """A message from the leader of a stream, where a direct get may be answered by a copy that is milliseconds behind.

    `which` is the request as JetStream's API has it; None where there is no such message.
    """
    try:
        answer = await client.api(f"STREAM.MSG.GET.{stream}", which)
    except JetStreamError as error:
        if error.code == NO_MESSAGE:
            return None
        raise
    message: dict[str, Any] = answer["message"]
    lines = base64.b64decode(message.get("hdrs", "")).decode(errors="replace").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines if ": " in line)
    return StoredMessage(message["subject"], int(message["seq"]), base64.b64decode(message.get("data", "")), headers)


def stream_config(stream: Stream) -> dict[str, Any]:
    """A stream in JetStream's words; durations are nanoseconds there.

    The sequences of a backlog begin at the time in milliseconds, so that they go on growing when it is made anew: what
    was handled before is the older one, also then.
    """
    return {
        **({"first_seq": int(time.time() * 1000)} if stream.backlog else {}),
        "name": stream.name,
        "description": stream.description,
        "subjects": list(stream.subjects),
        # Limits: the only policy under which acknowledged ids survive a restart of the server.
        "retention": "workqueue" if stream.backlog else "limits",
        "storage": "file",
        "discard": "new" if stream.backlog else "old",
        "discard_new_per_subject": stream.backlog > 0,
        "max_age": int(stream.max_age * 1e9),
        "max_bytes": stream.max_bytes,
        "max_msgs_per_subject": 1 if stream.last_per_subject else stream.backlog or -1,
        "duplicate_window": int(min(stream.duplicate_window, stream.max_age) * 1e9),
        "num_replicas": stream.replicas,
        "max_consumers": stream.most_consumers or -1,
        CONSUMER_LIMITS: {"inactive_threshold": int(stream.unused_consumers * 1e9)} if stream.unused_consumers else {},
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
