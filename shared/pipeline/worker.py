"""How a stage of the pipeline is declared.

A worker is a name, its settings, what it opens at start, and functions. Their annotations are the wiring:

    worker = Worker("policy", "Evaluates the rules", settings=PolicySettings, open=open_policy)

    @worker.handles()
    async def evaluate(message: Discovered, deps: Policy) -> Evaluated: ...

says that the worker consumes `Discovered` and emits `Evaluated`. What a handler returns is published first, and only
then is its message acknowledged. A source is an async generator that yields messages of its own accord (a watch); a
timer is called at intervals. Streams, consumers, permissions and the diagram are derived from these declarations
(topology.py, rights.py).
"""

import typing
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from shared.broker.store import Bucket
from shared.pipeline.messages import Message
from shared.process.settings import Settings

Emitted = Message | Iterable[Message] | None
HandlerCall = Callable[[Any, Any], Awaitable[Emitted]]
SourceCall = Callable[[Any], AsyncGenerator[Message, None]]
TimerCall = Callable[[Any], Awaitable[Emitted]]

H = TypeVar("H", bound=Callable[..., Any])


class DeclarationError(TypeError):
    """A declaration that cannot be wired; the message names the function and what is missing."""


@dataclass(frozen=True)
class Handler:
    """One consumed kind of message. `keep_superseded`: it wants to see messages of an older head as well."""

    call: HandlerCall
    consumes: type[Message]
    emits: tuple[type[Message], ...]
    keep_superseded: bool
    concurrency: int

    @property
    def name(self) -> str:
        return self.call.__name__


@dataclass(frozen=True)
class Source:
    """Runs for as long as the worker does; what it yields is published, in order."""

    call: SourceCall
    emits: tuple[type[Message], ...]

    @property
    def name(self) -> str:
        return self.call.__name__


@dataclass(frozen=True)
class Timer:
    """Called every `every(settings)` seconds, the first time after one interval."""

    call: TimerCall
    emits: tuple[type[Message], ...]
    every: Callable[[Any], float]

    @property
    def name(self) -> str:
        return self.call.__name__


@dataclass
class Worker:
    """A declared stage. `open(runtime)` yields what its functions get as their last argument.

    `follows`: the buckets that it reads; a runtime gives it no others, but for those that it owns. `asks`: subjects on
    which it asks others than the broker. What a worker may do in NATS is derived from all this.
    """

    name: str
    summary: str
    settings: type[Settings]
    open: Callable[[Any], AbstractAsyncContextManager[Any]]
    follows: tuple[Bucket[Any], ...] = ()
    asks: tuple[str, ...] = ()
    handlers: list[Handler] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    timers: list[Timer] = field(default_factory=list)

    def handles(self, *, keep_superseded: bool = False, concurrency: int = 32) -> Callable[[H], H]:
        """Declare a handler: `async def f(message: X, deps) -> Y | list[Y | Z] | None`."""

        def declare(call: H) -> H:
            hints = typing.get_type_hints(call)
            consumed = next(iter(hints.values()), None)
            if not (isinstance(consumed, type) and issubclass(consumed, Message)):
                raise DeclarationError(
                    f"{self.name}.{call.__name__}: the first parameter must be annotated with a message"
                )
            if any(handler.consumes is consumed for handler in self.handlers):
                raise DeclarationError(f"{self.name}: two handlers for {consumed.__name__}")
            self.handlers.append(Handler(call, consumed, _emits(self.name, call), keep_superseded, concurrency))
            return call

        return declare

    def source(self, call: H) -> H:
        """Declare a source: `async def f(deps) -> AsyncGenerator[Y, None]`."""
        self.sources.append(Source(call, _emits(self.name, call)))
        return call

    def every(self, interval: Callable[[Any], float]) -> Callable[[H], H]:
        """Declare a timer: `async def f(deps) -> Y | list[Y] | None`; the interval is taken from the settings."""

        def declare(call: H) -> H:
            self.timers.append(Timer(call, _emits(self.name, call), interval))
            return call

        return declare

    @property
    def consumes(self) -> tuple[type[Message], ...]:
        return tuple(handler.consumes for handler in self.handlers)

    @property
    def emits(self) -> tuple[type[Message], ...]:
        """All that any of its functions may publish, each once, in order of declaration."""
        functions: list[Handler | Source | Timer] = [*self.handlers, *self.sources, *self.timers]
        return tuple(dict.fromkeys(kind for function in functions for kind in function.emits))


def _emits(worker: str, call: Callable[..., Any]) -> tuple[type[Message], ...]:
    hints = typing.get_type_hints(call)
    if "return" not in hints:
        raise DeclarationError(f"{worker}.{call.__name__}: the return annotation says what it emits, and there is none")
    return tuple(dict.fromkeys(_messages_in(hints["return"])))


def _messages_in(hint: Any) -> Iterable[type[Message]]:
    """The message types anywhere inside an annotation: unions, lists, iterators."""
    if typing.get_origin(hint) is not None:
        for argument in typing.get_args(hint):
            yield from _messages_in(argument)
    elif isinstance(hint, type) and issubclass(hint, Message):
        yield hint


def messages_of(emitted: Emitted) -> tuple[Message, ...]:
    """The messages that a handler or timer returned, as a tuple."""
    if emitted is None:
        return ()
    return (emitted,) if isinstance(emitted, Message) else tuple(emitted)
