"""What whoever is let into NATS may try there, and what is stored afterwards."""

from collections.abc import Iterable, Mapping
from typing import Any

from services.registry import load_all
from shared.broker.nats import blobs
from shared.broker.nats.client import NatsClient
from shared.broker.nats.store import bucket_name
from shared.broker.subjects import covers
from shared.pipeline import topology
from shared.pipeline.buckets import BUCKETS

STREAMS = (
    *(stream.name for stream in (*topology.streams(), *topology.received(load_all()))),
    blobs.STREAM,
    *(f"KV_{bucket_name(bucket)}" for bucket in BUCKETS),
)
CONSUMERS = tuple(consumer for worker in load_all() for consumer in topology.consumers(worker))
FORGED = b'{"forged": true}'
BOUND = 10.0


async def picture(admin: NatsClient, *, but: Iterable[str] = ()) -> dict[str, Any]:
    """All that is stored and configured, but for what lies on some subjects."""
    found: dict[str, Any] = {}
    for stream in STREAMS:
        info = await admin.api(f"STREAM.INFO.{stream}", {"subjects_filter": ">"})
        found[stream] = (info["created"], info["config"])
        for subject in info["state"].get("subjects") or {}:
            if not any(covers(pattern, subject) for pattern in but):
                stored = await admin.api(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject})
                found[subject] = (stored["message"]["seq"], stored["message"].get("data"))
    for consumer in CONSUMERS:
        info = await admin.api(f"CONSUMER.INFO.{consumer.stream}.{consumer.name}")
        told = ("created", "config", "paused", "num_ack_pending", "delivered", "ack_floor")
        found[consumer.name] = {name: info.get(name) for name in told}
    return found


async def sent(
    client: NatsClient, subject: str, payload: bytes = FORGED, headers: Mapping[str, str] | None = None, reply: str = ""
) -> None:
    """Send, and wait until the server has taken it, whatever it says."""
    await client.send(subject, payload, headers=headers, reply=reply)
    await client.flush()


PUSHES: dict[str, dict[str, Any]] = {
    "ephemeral": {"ack_policy": "none"},
    "durable": {"durable_name": "push", "ack_policy": "explicit"},
    "with heartbeats": {"ack_policy": "none", "idle_heartbeat": 100_000_000, "flow_control": True},
    "headers only": {"ack_policy": "none", "headers_only": True},
    "queue": {"ack_policy": "none", "deliver_group": "queue"},
}


def verbs(stream: str) -> dict[str, Any]:
    """Requests by which a stream, or what is in it, would change."""
    consumer = next((each.name for each in CONSUMERS if each.stream == stream), "any")
    return {
        f"STREAM.PURGE.{stream}": {},
        f"STREAM.DELETE.{stream}": {},
        f"STREAM.UPDATE.{stream}": {"name": stream, "subjects": ["stolen.>"]},
        f"STREAM.CREATE.{stream}-MIRROR": {"name": f"{stream}-MIRROR", "mirror": {"name": stream}},
        f"STREAM.MSG.DELETE.{stream}": {"seq": 1},
        f"STREAM.SNAPSHOT.{stream}": {"deliver_subject": "_INBOX.stolen"},
        f"STREAM.RESTORE.{stream}": {"config": {"name": stream}},
        f"STREAM.LEADER.STEPDOWN.{stream}": {},
        f"CONSUMER.DELETE.{stream}.{consumer}": {},
        f"CONSUMER.PAUSE.{stream}.{consumer}": {"pause_until": "2100-01-01T00:00:00Z"},
        f"CONSUMER.UNPIN.{stream}.{consumer}": {"group": "g"},
        f"CONSUMER.LEADER.STEPDOWN.{stream}.{consumer}": {},
        f"CONSUMER.DURABLE.CREATE.{stream}.{consumer}": {"stream_name": stream, "config": {"durable_name": consumer}},
        f"CONSUMER.CREATE.{stream}": {"stream_name": stream, "config": {"ack_policy": "none"}},
    }
