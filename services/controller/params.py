"""The objects that policies of one workspace take parameters from: each is watched alone, as long as one names it."""

import asyncio
import functools
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from services.controller.projections import WantedObject
from shared.api import ParamRef
from shared.hub.access import Access, Action
from shared.hub.parameters import NOT_READ, is_secret, named, parameters_of
from shared.kube.apis import RestMapper, UnknownKind
from shared.kube.client import Client
from shared.kube.errors import ApiError, KubeError
from shared.kube.informer import Informer
from shared.kube.resources import Resource
from shared.model.policy import Parameters

MOST = 64
"""Objects that the policies of one workspace may name together."""

AGAIN_SECONDS = 30.0
"""Until a kind is looked for again that was not served."""

ABSENT = Parameters()

REVIEW_SECONDS = 60.0
"""Until it is asked again whether an author may still read an object: nothing tells of a right that is taken."""

SOON_SECONDS = 5.0
"""The same where nobody could say."""

Key = tuple[str, str, str, str, bytes]


def key_of(wanted: WantedObject) -> Key:
    """The object that a policy names, whatever is to be done without it, and in whose name."""
    ref = wanted.ref
    return ref.api_version, ref.kind, ref.namespace, ref.name, msgspec.json.encode(wanted.author)


class ParamWatch:
    """Follows these objects of a workspace, each in the name of a policy's author, who must be allowed to get it: else
    whoever may write policies could have us read anything.

    `changed` hears of each that says something else; `run` must be running.
    """

    def __init__(
        self, path: str, client: Client, mapper: RestMapper, access: Access, changed: Callable[[Key], None]
    ) -> None:
        self._path = path
        self._access = access
        self._client = client
        self._mapper = mapper
        self._changed = changed
        self._known: dict[Key, Parameters | None] = {}  # None: it was not answered yet
        self._following: dict[Key, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            await asyncio.Event().wait()

    @property
    def read(self) -> bool:
        """True if it is known of each object what it says, or why that is not known."""
        return None not in self._known.values()

    def get(self, wanted: WantedObject) -> Parameters | None:
        """What an object says that is wanted; None while that is not known."""
        return self._known.get(key_of(wanted))

    def want(self, objects: Iterable[WantedObject]) -> None:
        """Follow these objects, and no others."""
        wanted = {key_of(each): each for each in objects}
        for key in self._known.keys() - wanted.keys():
            del self._known[key]
            if key in self._following:
                self._following.pop(key).cancel()
        for key in sorted(wanted.keys() - self._known.keys()):
            if is_secret(wanted[key].ref):
                self._known[key] = Parameters(unusable=NOT_READ)
            elif len(self._following) >= MOST:
                self._known[key] = Parameters(unusable=f"the policies of its workspace name more than {MOST} objects")
            else:
                assert self._tasks is not None  # `run` is running
                self._known[key] = None
                self._following[key] = self._tasks.create_task(self._follow(key, wanted[key]), name=f"follow {key}")

    async def _follow(self, key: Key, wanted: WantedObject) -> None:
        ref = wanted.ref
        while (resource := await self._resource(key, ref)) is None:
            await asyncio.sleep(AGAIN_SECONDS)
            self._mapper.expire()
        if resource.namespaced != bool(ref.namespace):
            needs = "needs a namespace" if resource.namespaced else "has no namespace"
            self._learn(key, Parameters(unusable=f"{named(ref)}: the kind {needs}"))
            return
        action = Action("get", resource, ref.namespace, ref.name)
        while True:
            permission = await self._access.may(wanted.author, self._path, action)
            if permission == "Allowed":
                async with asyncio.TaskGroup() as tasks:
                    reading = tasks.create_task(self._read(key, ref, resource))
                    await self._until_denied(wanted, action)
                    reading.cancel()
            elif permission == "Unknown":
                self._doubt(key, ref)
                await asyncio.sleep(SOON_SECONDS)
            else:
                self._learn(key, Parameters(unusable=_refusal(wanted)))
                await asyncio.sleep(REVIEW_SECONDS)

    async def _until_denied(self, wanted: WantedObject, action: Action) -> None:
        while await self._access.may(wanted.author, self._path, action) in ("Allowed", "Unknown"):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(REVIEW_SECONDS)

    async def _read(self, key: Key, ref: ParamRef, resource: Resource) -> None:
        informer = Informer(
            self._client,
            resource,
            namespace=ref.namespace,
            field_selector=f"metadata.name={ref.name}",
            decode=functools.partial(_decoded, ref),
            on_error=functools.partial(self._refused, key, ref),
        )
        async with informer:
            async for _ in informer.events():
                if informer.synced.is_set():
                    self._learn(key, informer.objects.get((ref.namespace, ref.name), ABSENT))

    async def _resource(self, key: Key, ref: ParamRef) -> Resource | None:
        """How the kind is served; None where it is not, or nobody says so."""
        try:
            return await self._mapper.resource(ref.api_version, ref.kind)
        except UnknownKind:
            self._learn(key, ABSENT)
        except KubeError:
            self._doubt(key, ref)
        return None

    def _refused(self, key: Key, ref: ParamRef, error: KubeError) -> None:
        if isinstance(error, ApiError) and error.forbidden:
            self._learn(key, Parameters(unusable=f"{named(ref)} may not be read by the controller"))
        else:
            self._doubt(key, ref)

    def _doubt(self, key: Key, ref: ParamRef) -> None:
        """It cannot be read now: what was known of it stays."""
        if self._known.get(key) is None:
            self._learn(key, Parameters(unusable=f"{named(ref)} cannot be read"))

    def _learn(self, key: Key, parameters: Parameters) -> None:
        if key in self._known and self._known[key] != parameters:
            self._known[key] = parameters
            self._changed(key)


def _refusal(wanted: WantedObject) -> str:
    if wanted.author is None:
        return (
            "nobody is recorded as the policy's author, in whose name its parameters are read: write its spec once "
            "more, on a hub with Moorage's admission policies"
        )
    return f"{wanted.author.username}, who wrote the policy, may not get {named(wanted.ref)}"


_DECODE: Callable[[bytes], dict[str, Any]] = msgspec.json.Decoder(dict[str, Any]).decode


def _decoded(ref: ParamRef, raw: bytes) -> Parameters:
    return parameters_of(_DECODE(raw), ref)
