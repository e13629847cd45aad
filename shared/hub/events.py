"""Kubernetes Events about our objects, in their own workspaces: what people should see of what was found or done."""

import hashlib
import logging
from typing import Any, Literal

from shared.api import ApiObject
from shared.hub.names import TRACE_ANNOTATION, event_reporter, field_manager
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import EVENTS
from shared.kube.times import rfc3339
from shared.process.tracing import current_trace

log = logging.getLogger("moorage.events")

CLUSTER_SCOPED = "default"  # where Kubernetes keeps the Events of objects without a namespace
_NAME = 253
_NOTE = 1024  # bytes of an Event's message that every API server takes

EventType = Literal["Normal", "Warning"]


async def tell(
    client: Client,
    component: str,
    about: ApiObject,
    type: EventType,
    reason: str,
    note: str,
    now: float,
    *,
    occasion: str = "",
) -> None:
    """Write one Event on an object, through a client of its workspace, as this component.

    The same words about the same object are the same Event, which is written once; so that they can be said again,
    another `occasion` makes another Event of them. Events are a courtesy: where the server refuses them, that is logged
    and nothing else. Raises KubeError where it does not answer.
    """
    event = _event(component, about, type, reason, note, rfc3339(now, "seconds"), occasion)
    try:
        await client.create(EVENTS, event, field_manager=field_manager(component))
    except ApiError as error:
        if not error.already_exists:
            log.warning("an event could not be written", extra={"reason": reason, "error": str(error)})


def _event(
    component: str, about: ApiObject, type: EventType, reason: str, note: str, at: str, occasion: str
) -> dict[str, Any]:
    metadata, trace = about.metadata, current_trace()
    uid, namespace = metadata.uid, metadata.namespace
    digest = hashlib.sha256("\0".join([uid, reason, note, *([occasion] if occasion else [])]).encode()).hexdigest()[:16]
    return {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {
            "name": f"{metadata.name[: _NAME - 17]}.{digest}",
            "namespace": namespace or CLUSTER_SCOPED,
            **({"annotations": {TRACE_ANNOTATION: trace}} if trace else {}),
        },
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
        "source": {"component": field_manager(component)},
        "reportingComponent": event_reporter(component),
        "reportingInstance": field_manager(component),
        "reason": reason[:128],
        "involvedObject": {
            "apiVersion": about.api_version,
            "kind": str(about.__struct_config__.tag),
            "name": metadata.name,
            "uid": uid,
            **({"namespace": namespace} if namespace else {}),
        },
        "message": note[:_NOTE],
        "type": type,
    }
