"""Following the events of placements over NATS."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from services.cli.support.broker import CONNECT_TIMEOUT
from services.cli.support.errors import CommandError
from services.cli.support.events import SeenEvent, proof, seen
from services.cli.support.sentences import sentence
from shared.broker.nats.client import NatsClient
from shared.broker.tokens import escape
from shared.model.refs import PlacementRef
from shared.pipeline.events import EVENTS_STREAM, EVENTS_SUBJECT

if TYPE_CHECKING:
    from nats.aio.msg import Msg

EVER = 30 * 86_400.0
"""Seconds; longer than events are kept by default."""


def subject(workspace: str, namespace: str = "", name: str = "") -> str:
    """The subjects of the events of a workspace, of a namespace of it, or of one placement."""
    if name:
        return f"{EVENTS_SUBJECT}.{PlacementRef(workspace=workspace, namespace=namespace, name=name).key}.>"
    return f"{EVENTS_SUBJECT}.{'.'.join(map(escape, (workspace, namespace) if namespace else (workspace,)))}.>"


async def follow_events(client: NatsClient, subjects: str, since: float) -> AsyncGenerator[SeenEvent | None, None]:
    """The events of the last `since` seconds, the oldest first, then None, then those that come, without end.

    What is no event of ours, or of a type that this version does not know, is passed over. Raises CommandError where
    there is no stream of events, or none that may be read; BusError.
    """
    from shared.broker.nats import reader

    begin = (datetime.now(UTC) - timedelta(seconds=since)).isoformat()
    async with aclosing(reader.follow(client, EVENTS_STREAM, subjects, reader.since(begin))) as messages:
        message = await _first(messages)
        while True:
            if message is None:
                yield None
            elif event := seen(message.data, message.headers or {}, message.metadata.timestamp.isoformat()):
                yield event
            message = await anext(messages)


async def until(
    client: NatsClient,
    ref: PlacementRef,
    word: str,
    timeout: float,
    shown: Callable[[SeenEvent], None] | None = None,
    uid: str = "",
    generation: int = 0,
) -> SeenEvent:
    """The event by which something is so of a placement (see `proof`), once it is. Those that count are `shown`.

    Raises CommandError when it is not within `timeout` seconds; BusError.
    """
    history: list[SeenEvent] = []
    complete = False
    try:
        async with (
            asyncio.timeout(timeout),
            aclosing(follow_events(client, subject(ref.workspace, ref.namespace, ref.name), EVER)) as events,
        ):
            async for event in events:
                if event is None:
                    complete = True
                else:
                    history.append(event)
                    if shown is not None and uid in ("", event.uid) and event.generation >= generation:
                        shown(event)
                if complete and (found := proof(word, history, uid, generation)) is not None:
                    return found
    except TimeoutError:
        pass
    last = f"the last is {history[-1].word} {sentence(history[-1].data)}".rstrip() if history else "there is none"
    raise CommandError(f"{ref.namespace}/{ref.name} is not {word} within {timeout:g} s; of its events, {last}")


async def _first(messages: "AsyncGenerator[Msg | None, None]") -> "Msg | None":
    """The first of them, for which the stream has to be there."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            return await anext(messages)
    except TimeoutError:
        raise CommandError(
            f"no stream {EVENTS_STREAM} answers within {CONNECT_TIMEOUT:g} s: it is made by `moorage provision`, or by"
            " any worker as it starts, and in an account of its own a user needs MOORAGE_NATS_API_PREFIX"
        ) from None
