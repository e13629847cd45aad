"""What events say, in a sentence for people. Pure."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from services.cli.support.events import Data
from shared.model.asking import AcceptedData, RejectedData
from shared.model.events import (
    BoundData,
    DecidedData,
    DegradedData,
    FailedData,
    MovedData,
    ReadyData,
    RefusedData,
    RemovedData,
    RequestedData,
    TargetLostData,
)
from shared.model.refs import TargetRef

_NAMED: Final = 3  # targets that a sentence names


def sentence(data: Data) -> str:
    """What an event says; empty where its type says it all."""
    says = _SENTENCES.get(type(data))
    return says(data) if says is not None else ""


def _decided(data: DecidedData) -> str:
    if not data.selected:
        return "no target is wanted"
    chosen = [f"{each.target.name} ({each.score:.0f})" for each in data.targets[:_NAMED]]
    return f"{_and_more(chosen, data.selected)}, out of {data.considered}"


def _degraded(data: DegradedData) -> str:
    return _with(f"in {data.degraded} of {_count(data.targets, 'target')}", data.message)


def _moved(data: MovedData) -> str:
    return f"from {_names(data.from_)} to {_names(data.to)}" if data.to else f"from {_names(data.from_)}"


_SENTENCES: Final[dict[type, Callable[[Any], str]]] = {
    AcceptedData: lambda data: f"{data.request.verb} as {data.request.user}",
    RejectedData: lambda data: f"{data.request.verb} as {data.request.user}: {data.message}",
    RequestedData: lambda data: _with(data.cause, data.detail),
    DecidedData: _decided,
    RefusedData: lambda data: data.message,
    MovedData: _moved,
    TargetLostData: lambda data: data.target.name,
    BoundData: lambda data: f"{data.target.name}: {_count(data.objects, 'object')}",
    FailedData: lambda data: _with(data.target.name, data.message or data.reason),
    ReadyData: lambda data: f"in {_count(data.targets, 'target')}" if data.targets else "no target is wanted",
    DegradedData: _degraded,
    RemovedData: lambda data: "everywhere" if data.target is None else data.target.name,
}


def _with(text: str, detail: str) -> str:
    return f"{text}: {detail}" if detail else text


def _names(targets: Sequence[TargetRef]) -> str:
    return _and_more([each.name for each in targets[:_NAMED]], len(targets))


def _and_more(some: list[str], number: int) -> str:
    more = number - len(some)
    return ", ".join(some) + (f" and {more} more" if more > 0 else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"
