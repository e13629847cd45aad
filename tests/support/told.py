"""The events of a system beside its objects: is each fact told, and told once?"""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from shared.broker.nats import reader
from shared.broker.nats.client import NatsClient
from shared.cloudevents import CloudEvent, parse
from shared.hub.names import ATTEMPT_ANNOTATION
from shared.hub.resources import BINDINGS, DECISIONS, PLACEMENTS
from shared.kube.client import Client
from shared.model.events import EVENTS, EventData, type_of
from shared.pipeline.events import EVENTS_STREAM, EVENTS_SUBJECT
from tests.support import worlds

Told = list[tuple[CloudEvent, EventData]]

_DATA = {type_of(each.kind): each for each in EVENTS}
_TOLD_PHASES = {"Ready": "ready", "Idle": "ready", "Degraded": "degraded", "Suspended": "suspended"}
_ONCE = {"requested", "decided", "refused", "moved", "bound", "removed", "targetlost"}
"""Kinds of which there is one event per attempt, and target if there is one."""


async def told(client: NatsClient) -> Told:
    """All events of the stream."""
    found = []
    async for message in _present(client):
        event = parse(message.data, message.headers or {})
        if event.type in _DATA:
            found.append((event, msgspec.json.decode(event.data, type=_DATA[event.type])))
    return found


async def _present(client: NatsClient) -> AsyncIterator[Any]:
    async for message in reader.follow(client, EVENTS_STREAM, f"{EVENTS_SUBJECT}.>", {"deliver_policy": "all"}):
        if message is None:
            return
        yield message


def told_twice(events: Told) -> list[str]:
    """Events that are in the stream twice, and facts that have two ids."""
    ids = Counter(event.id for event, _ in events)
    facts = Counter(_fact(data) for _, data in events if data.kind in _ONCE)
    return [f"{each}: {number} times" for each, number in [*ids.items(), *facts.items()] if number > 1]


def _fact(data: EventData) -> tuple[str, str, int, str]:
    target = getattr(data, "target", None)
    return data.uid, data.kind, data.attempt, target.id if target is not None else ""


async def untold(events: Told, user: Client) -> list[str]:
    """What the objects of the tenant say and no event does."""
    ids = {event.id for event, _ in events}
    facts = {_fact(data) for _, data in events}
    placements, decisions, bindings = [
        (await user.list(resource, worlds.NAMESPACE)).items for resource in (PLACEMENTS, DECISIONS, BINDINGS)
    ]
    lapses, uids = [], {}
    for each in placements:
        name, uid, status = each["metadata"]["name"], each["metadata"]["uid"], each.get("status") or {}
        uids[name] = uid
        kind, since = _TOLD_PHASES.get(status.get("phase", "")), status.get("phaseSince")
        if kind and since and not any(each.startswith(f"{uid}:{kind}:{since}") for each in ids):
            lapses.append(f"{name} is {status['phase']} since {since}")
    for each in decisions:
        name, status = each["metadata"]["name"], each.get("status") or {}
        attempt, uid = status.get("attempt", 0), uids.get(name)
        if uid and attempt and not {(uid, kind, attempt, "") for kind in ("decided", "refused")} & facts:
            lapses.append(f"{name} is decided, attempt {attempt}")
    for each in bindings:
        status, metadata = each.get("status") or {}, each["metadata"]
        done = status.get("phase") in ("Applied", "Ready", "Degraded")
        if not done or status.get("observedGeneration") != metadata["generation"]:
            continue
        target, uid = each["spec"]["target"], each["spec"]["placementRef"]["uid"]
        attempt = int(metadata["annotations"][ATTEMPT_ANNOTATION])
        if (uid, "bound", attempt, f"{target['workspace']}/{target['name']}") not in facts:
            lapses.append(f"{metadata['name']} is applied, attempt {attempt}")
    return lapses
