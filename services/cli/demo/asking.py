"""A placement of the world that its user asks for over NATS, with its events as they come."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from services.cli.support.asking import carried_out
from services.cli.support.events import SeenEvent, seen
from services.cli.support.flags import content as content_of
from services.cli.support.following import subject
from services.cli.support.offers import Content
from shared.broker.nats.client import NatsClient
from shared.model.refs import PlacementRef
from shared.pipeline.requests import RequestSubject

if TYPE_CHECKING:
    from nats.aio.msg import Msg


async def publish(
    nats: NatsClient,
    content: Content,
    file: Path,
    creating: Callable[[PlacementRef], None],
    show: Callable[[SeenEvent], None],
) -> tuple[PlacementRef, str]:
    """Ask for the Placement in a file; returns which it is, and the subject on which it was asked for.

    `creating` is called right before that, and each event of it is shown from then on. Raises CommandError where it is
    rejected, or not answered; BusError.
    """
    data = content_of([str(file)])
    metadata = data["placement"]["metadata"]
    ref = PlacementRef(workspace=content.workspace, namespace=metadata["namespace"], name=metadata["name"])

    def heard(message: "Msg") -> None:
        if (event := seen(message.data, dict(message.headers or {}), datetime.now(UTC).isoformat())) is not None:
            show(event)

    await nats.subscribe(subject(ref.workspace, ref.namespace, ref.name), heard)
    creating(ref)
    where = RequestSubject(content.workspace, content.user, "place").subject
    await carried_out(nats, "place", where, data)
    return ref, where
