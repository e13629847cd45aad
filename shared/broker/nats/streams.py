"""Streams and consumers as configurations of JetStream."""

import logging
from collections.abc import Mapping
from typing import Any

from shared.broker.bus import Consumer, Stream
from shared.broker.nats.client import JetStreamError, NatsClient

log = logging.getLogger("moorage.nats")

NAME_IN_USE = 10058

ADVISORIES = Stream(
    name="MOORAGE_ADVISORIES",
    subjects=("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>", "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>"),
    description="What the broker itself reports about messages that were given up, should the dead letters miss one",
    max_bytes=64 << 20,
)


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
        await client.api(f"STREAM.UPDATE.{name}", {**config, **kept})


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
