"""Faults on demand: which requests fail, how and how often. Chance is seeded, so a run can be repeated."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from fnmatch import fnmatchcase
from typing import Annotated, Literal, NamedTuple, get_args

import msgspec
from msgspec import Meta

from services.sandbox import errors
from services.sandbox.errors import ApiError
from services.sandbox.schemas.kinds import WORKSPACES
from services.sandbox.wire.http import Response

Kind = Literal[
    "403", "409", "429", "500", "503", "expired-token", "lag", "unavailable", "latency", "truncate", "drop", "stall"
]
KINDS: tuple[str, ...] = get_args(Kind)
BEFORE = frozenset(("403", "409", "429", "500", "503", "expired-token", "lag", "unavailable", "latency"))
BODY = frozenset(("truncate",))
STREAM = frozenset(("truncate", "drop", "stall"))
_SAID = "a fault that was asked for"


class Fault(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What fails: requests to clusters (`root:team`, `target:east`), by verbs, for resources (`deployments.apps`), each
    a shell pattern. Of those `rate` is hit, at most `times` of them (0: without end).

    403 to 503, `expired-token` (401), `lag` (404: kcp's index has not heard of the workspace yet) and `unavailable`
    (503, and open watches end) refuse; the request has no effect.
    `latency` answers late. `truncate` cuts off the body of an answer, after the request had its effect. Of watches,
    events are hit: `drop` cuts the connection, `stall` says nothing for a while, `truncate` cuts within an event.
    `seconds` is how late, how long, or what Retry-After says.
    """

    kind: Kind
    cluster: str = "*"
    verb: str = "*"
    resource: str = "*"
    rate: Annotated[float, Meta(gt=0, le=1)] = 1.0
    seconds: Annotated[float, Meta(ge=0, le=3600)] = 1.0
    times: Annotated[int, Meta(ge=0)] = 0
    seed: int = 0


class Call(NamedTuple):
    """Of which cluster what is asked: a verb, and a resource (empty for discovery and the like)."""

    cluster: str
    verb: str
    resource: str


class CutError(Exception):
    """The connection is to end in the middle of the answer."""


class _Active:
    """A fault with what it did so far."""

    __slots__ = ("chance", "fault", "hits")

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.hits = 0
        self.chance = random.Random(fault.seed)  # noqa: S311 - to be repeatable, not secret

    def strikes(self, call: Call) -> bool:
        fault = self.fault
        if fault.times and self.hits >= fault.times:
            return False
        if not all(map(fnmatchcase, call, (fault.cluster, fault.verb, fault.resource))):
            return False
        if fault.rate < 1 and self.chance.random() >= fault.rate:
            return False
        self.hits += 1
        return True


class Faults:
    """The faults that are on, by id."""

    def __init__(self) -> None:
        self._active: dict[str, _Active] = {}
        self._count = 0

    def add(self, fault: Fault) -> str:
        self._count += 1
        self._active[str(self._count)] = _Active(fault)
        return str(self._count)

    def listed(self) -> dict[str, tuple[Fault, int]]:
        """Each fault with how often it hit."""
        return {each: (active.fault, active.hits) for each, active in self._active.items()}

    def remove(self, id: str) -> bool:
        return self._active.pop(id, None) is not None

    def clear(self) -> None:
        self._active.clear()

    def _strikes(self, call: Call, kinds: frozenset[str]) -> Iterator[Fault]:
        for active in tuple(self._active.values()):
            if active.fault.kind in kinds and active.strikes(call):
                yield active.fault

    async def before(self, call: Call) -> None:
        """Wait, or raise ApiError, as the faults have it."""
        for fault in self._strikes(call, BEFORE):
            if fault.kind != "latency":
                raise _refusal(fault, call)
            await asyncio.sleep(fault.seconds)

    def after(self, call: Call, response: Response) -> Response:
        """The answer as the faults leave it."""
        if response.stream:
            response.stream = self._disturbed(response.stream, call)
        elif response.body and any(self._strikes(call, BODY)):
            response.headers["content-length"] = str(len(response.body))
            response.stream = _half(response.body)
        return response

    async def _disturbed(self, stream: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        try:
            async for chunk in stream:
                for fault in self._strikes(call, STREAM):
                    if fault.kind == "stall":
                        await asyncio.sleep(fault.seconds)
                        continue
                    if fault.kind == "truncate":
                        yield chunk[: len(chunk) // 2]
                    raise CutError
                yield chunk
        finally:
            await stream.aclose()  # type: ignore[attr-defined]  # our streams are generators


async def _half(body: bytes) -> AsyncIterator[bytes]:
    yield body[: len(body) // 2]
    raise CutError


def _refusal(fault: Fault, call: Call) -> ApiError:
    wait = {"retryAfterSeconds": max(1, round(fault.seconds))}
    match fault.kind:
        case "403":
            return errors.forbidden(_SAID, call.resource)
        case "409":
            return errors.conflict(call.resource, "", _SAID)
        case "429":
            return ApiError(429, "TooManyRequests", _SAID, wait)
        case "500":
            return ApiError(500, "InternalError", _SAID)
        case "expired-token":
            return errors.unauthorized()
        case "lag":
            return errors.not_found(WORKSPACES, call.cluster)
        case _:
            return ApiError(503, "ServiceUnavailable", _SAID, wait)
