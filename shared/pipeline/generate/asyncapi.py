"""The AsyncAPI 3 document of what tenants send to Moorage and receive from it."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from shared.cloudevents import STRUCTURED
from shared.pipeline.generate.schemas import Exchanged, meaning

Document = dict[str, Any]

VERSION = "v1"
"""Of the types: the last part of their names."""

SCHEMA_FORMAT = "application/schema+json;version=draft-07"

PARAMETERS = {
    "workspace": "Path of the workspace, as one token; `=` on a hub without workspaces.",
    "user": "On whose behalf, as one token: who may publish here is NATS's to say.",
    "namespace": "Namespace of the Placement, as one token.",
    "placement": "Name of the Placement, as one token.",
    "type": "What happened.",
}
"""What stands between the dots of an address."""


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """Subjects of one shape. Moorage `receive`s there, or `send`s.

    `answers`: what it answers, on the subject that the request names in `address`, an AsyncAPI runtime expression, or
    on the reply subject of the message where that is empty. `choices`: what a parameter may be. `stream`: where it is
    stored.
    """

    name: str
    address: str
    meaning: str
    action: Literal["receive", "send"]
    messages: tuple[Exchanged, ...]
    answers: tuple[Exchanged, ...] = ()
    answered_at: str = ""
    choices: dict[str, tuple[str, ...]] = {}
    stream: str = ""


def document(channels: Sequence[Channel]) -> Document:
    """The whole document; schemas are in files of their own beside it."""
    exchanged = {kind.type: kind for channel in channels for kind in (*channel.messages, *channel.answers)}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Moorage",
            "version": VERSION,
            "description": "Placements asked for over NATS, and events of what becomes of them, as CloudEvents 1.0 in"
            " structured mode (binary mode is read as well). docs/publish.md shows how to begin, subjects.md who may"
            " publish and read what.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": STRUCTURED,
        "channels": {
            **{channel.name: _channel(channel) for channel in channels},
            **({"answers": _answers(channels)} if any(channel.answers for channel in channels) else {}),
        },
        "operations": {channel.name: _operation(channel) for channel in channels},
        "components": {"messages": {name: _message(kind) for name, kind in exchanged.items()}},
    }


def _channel(channel: Channel) -> Document:
    parameters = [token[1:-1] for token in channel.address.split(".") if token.startswith("{")]
    found: Document = {
        "address": channel.address,
        "description": channel.meaning,
        "parameters": {name: _parameter(name, channel.choices.get(name, ())) for name in parameters},
        "messages": _messages(channel.messages),
    }
    return {**found, "x-nats-stream": channel.stream} if channel.stream else found


def _parameter(name: str, choices: tuple[str, ...]) -> Document:
    return {"description": PARAMETERS[name], **({"enum": list(choices)} if choices else {})}


def _messages(kinds: Iterable[Exchanged]) -> Document:
    return {kind.type: {"$ref": f"#/components/messages/{kind.type}"} for kind in kinds}


def _answers(channels: Iterable[Channel]) -> Document:
    return {
        "address": None,
        "description": "An inbox of who asked: the one that the request names, or its reply subject.",
        "messages": _messages(kind for channel in channels for kind in channel.answers),
    }


def _operation(channel: Channel) -> Document:
    found: Document = {
        "action": channel.action,
        "channel": {"$ref": f"#/channels/{channel.name}"},
        "summary": channel.meaning,
        "messages": _of("channels", channel.name, channel.messages),
    }
    if not channel.answers:
        return found
    reply: Document = {
        "channel": {"$ref": "#/channels/answers"},
        "messages": _of("channels", "answers", channel.answers),
    }
    if channel.answered_at:
        reply["address"] = {"location": channel.answered_at}
    return {**found, "reply": reply}


def _of(*path: Any) -> list[Document]:
    *names, kinds = path
    return [{"$ref": f"#/{'/'.join(names)}/messages/{kind.type}"} for kind in kinds]


def _message(kind: Exchanged) -> Document:
    return {
        "name": kind.type,
        "summary": meaning(kind.data),
        "contentType": STRUCTURED,
        "payload": {"schemaFormat": SCHEMA_FORMAT, "schema": {"$ref": f"./{kind.file}"}},
    }
