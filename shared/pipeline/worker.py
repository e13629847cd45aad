"""How a stage of the pipeline is declared.

A worker is a name, its settings, what it opens at start, and functions. Their annotations are the wiring:

    worker = Worker("policy", "Evaluates the rules", settings=PolicySettings, open=open_policy)

    @worker.handles()
    async def evaluate(message: Discovered, deps: Policy) -> Evaluated: ...

says that the worker consumes `Discovered` and emits `Evaluated`. What a handler returns is published first, and only
then is its message acknowledged. A source is an async generator that yields messages of its own accord (a watch); a
timer is called at intervals. What `answers` is asked about a message and says what would be made of it: nothing is
published then, and nothing stored. Streams, consumers, permissions and the diagram are derived from these declarations
(topology.py, rights.py).
"""

import typing
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from shared.broker.bus import Asked, Delivery, Reply, Stream
from shared.broker.store import Bucket
from shared.model.copy import Copy
from shared.pipeline.messages import Message
from shared.process.settings import Settings

Emitted = Message | Iterable[Message] | None
HandlerCall = Callable[[Any, Any], Awaitable[Emitted]]
SourceCall = Callable[[Any], AsyncGenerator[Emitted, None]]
TimerCall = Callable[[Any], Awaitable[Emitted]]
EndpointCall = Callable[[Asked, Any], Awaitable[Reply]]
ReceiverCall = Callable[[Delivery, Any], Awaitable[None]]

H = TypeVar("H", bound=Callable[..., Any])


class DeclarationError(TypeError):
    """A declaration that cannot be wired; the message names the function and what is missing."""


@dataclass(frozen=True)
class Handler:
    """One consumed kind of message. `keep_superseded`: it wants to see messages of an older head as well. `dealt_by`:
    the key by whose owner among the copies a message is to be handled; without it, by any.
    """

    call: HandlerCall
    consumes: type[Message]
    emits: tuple[type[Message], ...]
    keep_superseded: bool
    concurrency: int
    dealt_by: Callable[[Any], str] | None

    @property
    def name(self) -> str:
        return self.call.__name__


@dataclass(frozen=True)
class Answerer:
    """Answers questions about one kind of message; each copy works on `concurrency` of them at once."""

    call: Callable[[Any, Any], Awaitable[msgspec.Struct]]
    about: type[Message]
    gives: type[msgspec.Struct]
    concurrency: int

    @property
    def name(self) -> str:
        return self.call.__name__


@dataclass(frozen=True)
class Receiver:
    """Takes what others publish into a stream of theirs, as it comes: it may be anything."""

    call: ReceiverCall
    stream: Stream
    subject: str
    concurrency: int

    @property
    def name(self) -> str:
        return self.call.__name__


@dataclass(frozen=True)
class Endpoint:
    """Answers what others than workers ask on a subject, as it comes: it may be anything."""

    call: EndpointCall
    subject: str
    concurrency: int

    @property
    def name(self) -> str:
        return self.call.__name__


@dataclass(frozen=True)
class Source:
    """Runs for as long as the worker does; what it yields is published, in order: of several messages, all together."""

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

    `follows`: the buckets that it reads; a runtime gives it no others, but for those that it owns. `copies`: the one of
    these in which its copies say that they are there, if anything is dealt out over them. `asks`: subjects on which it
    asks others than the broker. `questions`: the messages about which it asks those who answer. `facts`: what it states
    in events alone, and no function returns. `tells`: subjects outside the pipeline that it publishes on. `replies`:
    subjects of its own account on which it answers. `recalls`: messages of its own of which it asks which is the last.
    `tunnels`: it reaches targets, some of them over the bus. What a worker may do in NATS is derived from all this.
    """

    name: str
    summary: str
    settings: type[Settings]
    open: Callable[[Any], AbstractAsyncContextManager[Any]]
    follows: tuple[Bucket[Any], ...] = ()
    copies: Bucket[Copy] | None = None
    asks: tuple[str, ...] = ()
    questions: tuple[type[Message], ...] = ()
    facts: tuple[type[Message], ...] = ()
    tells: tuple[str, ...] = ()
    replies: tuple[str, ...] = ()
    recalls: tuple[type[Message], ...] = ()
    tunnels: bool = False
    handlers: list[Handler] = field(default_factory=list)
    receivers: list[Receiver] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    timers: list[Timer] = field(default_factory=list)
    answerers: list[Answerer] = field(default_factory=list)
    endpoints: list[Endpoint] = field(default_factory=list)

    @property
    def drops_superseded(self) -> bool:
        """Whether any handler wants no messages of an older head."""
        return any(not handler.keep_superseded for handler in self.handlers)

    def handles(
        self,
        *,
        keep_superseded: bool = False,
        concurrency: int = 32,
        dealt_by: Callable[[Any], str] | None = None,
    ) -> Callable[[H], H]:
        """Declare a handler: `async def f(message: X, deps) -> Y | list[Y | Z] | None`.

        Messages come to the copy that owns what `dealt_by` makes of them, as a rule: while copies come and go, another
        may get them, or two.
        """
        if dealt_by is not None and self.copies is None:
            raise DeclarationError(f"{self.name}: messages are dealt out over copies, which have no bucket")

        def declare(call: H) -> H:
            consumed = _about(self.name, call)
            if any(handler.consumes is consumed for handler in self.handlers):
                raise DeclarationError(f"{self.name}: two handlers for {consumed.__name__}")
            emits = _emits(self.name, call)
            self.handlers.append(Handler(call, consumed, emits, keep_superseded, concurrency, dealt_by))
            return call

        return declare

    def answers(self, *, concurrency: int = 128) -> Callable[[H], H]:
        """Declare that it answers questions: `async def f(message: X, deps) -> Y`, where Y is what is answered.

        A handler may be declared an answerer as well, where it does nothing but make one message of another.
        """

        def declare(call: H) -> H:
            about, gives = _about(self.name, call), typing.get_type_hints(call).get("return")
            if not (isinstance(gives, type) and issubclass(gives, msgspec.Struct)):
                raise DeclarationError(f"{self.name}.{call.__name__}: the return annotation must be what it answers")
            self.answerers.append(Answerer(call, about, gives, concurrency))
            return call

        return declare

    def receives(self, stream: Stream, subject: str, *, concurrency: int = 32) -> Callable[[H], H]:
        """Declare a receiver: `async def f(delivery: Delivery, deps) -> None`. The worker brings its stream along."""

        def declare(call: H) -> H:
            self.receivers.append(Receiver(call, stream, subject, concurrency))
            return call

        return declare

    def serves(self, subject: str, *, concurrency: int) -> Callable[[H], H]:
        """Declare an endpoint for others than workers: `async def f(asked: Asked, deps) -> Reply`."""

        def declare(call: H) -> H:
            self.endpoints.append(Endpoint(call, subject, concurrency))
            return call

        return declare

    def source(self, call: H) -> H:
        """Declare a source: `async def f(deps) -> AsyncGenerator[Y | list[Y], None]`."""
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
    def states(self) -> tuple[type[Message], ...]:
        """All that any of its functions may state, each once, in order of declaration."""
        functions: list[Handler | Source | Timer] = [*self.handlers, *self.sources, *self.timers]
        return tuple(dict.fromkeys((*(kind for function in functions for kind in function.emits), *self.facts)))

    @property
    def emits(self) -> tuple[type[Message], ...]:
        """Those of them that go to a stage; the others are told in events alone."""
        return tuple(kind for kind in self.states if kind.stage)


def _about(worker: str, call: Callable[..., Any]) -> type[Message]:
    found = next(iter(typing.get_type_hints(call).values()), None)
    if not (isinstance(found, type) and issubclass(found, Message)):
        raise DeclarationError(f"{worker}.{call.__name__}: the first parameter must be annotated with a message")
    return found


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
