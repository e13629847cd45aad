"""Requests as writes on the hub, in the name of who asked.

On Kubernetes they are made by impersonation: its RBAC decides, and its admission records the requester. kcp confines an
impersonated user to one workspace, so that no target of another could be used. There we ask by SubjectAccessReview
whether the user may, write as ourselves, and name the requester, which admission takes from nobody else.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from services.intake.core import Placing, RequestRejected
from shared.aio.backoff import backoff
from shared.aio.lru import Lru
from shared.broker.bus import Retry
from shared.hub.access import Access, Action
from shared.hub.hub import Hub
from shared.hub.names import HOLD_ANNOTATION, REQUESTER_ANNOTATION
from shared.hub.resources import PLACEMENTS
from shared.kube.apis import RestMapper, UnknownKind
from shared.kube.client import Client, Object
from shared.kube.errors import ApiError, KubeError, TooLarge
from shared.kube.impersonation import Impersonated
from shared.kube.resources import Resource
from shared.model.refs import PlacementRef
from shared.model.request import Requester

log = logging.getLogger("moorage.intake")

MANAGER = "moorage-requests"
TRIES = 5
GIVE_UP = 10
"""Deliveries after which a request that the hub could carry out, and does not, is answered."""
OUTAGE = 500
"""The same while the hub is not to be reached: an hour or more. It may be the request itself at which it fails."""
MAPPED_WORKSPACES = 1000

_NONE_YET = "1"
"""A resourceVersion that no object has. An apply with it makes an object, and changes none that is there: that is a
conflict. So a copy that was stalled before it writes, for so long that others went on, overwrites nothing."""

_MISTYPED = "failed to create typed patch object"
"""What an API server says, with status 500, of an applied object with a value of the wrong type."""

StillWanted = Callable[[], Awaitable[None]]
"""Raises RequestRejected where a later request about the same placement was begun."""


class Writer:
    """Writes what requests ask for. Its methods raise RequestRejected, KubeError, and Retry for what may pass."""

    def __init__(self, hub: Hub, access: Access) -> None:
        self._hub = hub
        self._access = access
        self._mappers: Lru[str, RestMapper] = Lru(MAPPED_WORKSPACES)

    async def place(self, placing: Placing, requester: Requester, still_wanted: StillWanted) -> Object:
        """Apply the objects, then the Placement; returns its metadata."""
        ref = placing.placement
        for each in placing.objects:
            resource = await self._resource(ref.workspace, each)
            await self.check(requester, ref, resource, each["metadata"]["name"], "create", "patch")
            await still_wanted()
            await self.client(ref.workspace, requester).apply(resource, each, field_manager=MANAGER)
        for _ in range(TRIES):
            await self.check(requester, ref, PLACEMENTS, ref.name, "patch")
            found = await self._present(ref)
            if found is None:
                await self.check(requester, ref, PLACEMENTS, ref.name, "create")
            elif found.get("deletionTimestamp"):
                raise Retry(1.0, f"{ref} is still being removed")
            await still_wanted()
            try:
                written = await self.client(ref.workspace, requester).apply(
                    PLACEMENTS, self._manifest(placing, found, requester), field_manager=MANAGER
                )
            except ApiError as error:
                if not error.conflict or _is_of_fields(error):
                    raise
                continue  # somebody wrote since it was read
            metadata: Object = written["metadata"]
            if found is None:
                await self._keep_if(still_wanted, ref, metadata, requester)
            return metadata
        raise Retry(0.5, f"{ref} keeps changing")

    async def withdraw(self, ref: PlacementRef, requester: Requester, still_wanted: StillWanted) -> Object:
        """Delete the Placement; returns the metadata that it had, empty where it was not there."""
        for _ in range(TRIES):
            await self.check(requester, ref, PLACEMENTS, ref.name, "delete", always=True)
            found = await self._present(ref)
            if found is None or found.get("deletionTimestamp"):
                return found or {}
            await still_wanted()
            try:
                await self._delete(ref, found, requester)
            except ApiError as error:
                if not (error.conflict or error.absent(ref.name)):
                    raise
                continue
            return found
        raise Retry(0.5, f"{ref} keeps changing")

    async def _keep_if(self, still_wanted: StillWanted, ref: PlacementRef, made: Object, requester: Requester) -> None:
        """Take back what was made just now, where a later request had withdrawn it before; then raise what says so."""
        try:
            await still_wanted()
        except RequestRejected:
            try:
                await self._delete(ref, made, requester)
            except KubeError as error:  # somebody has it by now, or the user may make what they may not delete
                log.warning("what was made too late stays", extra={"placement": str(ref), "error": str(error)})
            raise

    async def _delete(self, ref: PlacementRef, seen: Object, requester: Requester) -> None:
        """Delete the Placement, on condition that it is as it was seen."""
        await self.client(ref.workspace, requester).delete(
            PLACEMENTS, ref.name, ref.namespace, uid=seen["uid"], resource_version=seen["resourceVersion"]
        )

    def client(self, workspace: str, requester: Requester) -> Client:
        """A client of the workspace in the name of a user, or as ourselves where kcp would confine that user."""
        client = self._hub.at(workspace)
        if self._hub.kind == "kcp":
            return client
        who = Impersonated(
            username=requester.username, uid=requester.uid, groups=requester.groups, extra=requester.extra
        )
        return client.acting_as(who)

    async def check(
        self, requester: Requester, ref: PlacementRef, resource: Resource, name: str, *verbs: str, always: bool = False
    ) -> None:
        """Raise RequestRejected unless the user may do it; where we write in their name, the hub says so by itself."""
        if self._hub.kind == "kubernetes" and not always:
            return
        for verb in verbs:
            # As an API server has it: what is to be created has no name yet that a right could be for.
            action = Action(verb, resource, ref.namespace, "" if verb == "create" else name)
            permission = await self._access.may(requester, ref.workspace, action)
            if permission == "Unknown":
                await self._check_workspace(ref.workspace)
            if permission != "Allowed":
                raise RequestRejected(
                    "Forbidden",
                    f"user {requester.username} may not {verb} {resource.name} in namespace {ref.namespace}"
                    f" of workspace {ref.workspace}",
                )

    async def _check_workspace(self, workspace: str) -> None:
        if await self._hub.is_gone(workspace):
            raise RequestRejected("NotFound", f"there is no workspace {workspace}")
        raise Retry(2.0, f"nobody says what may be done in workspace {workspace}")

    async def _resource(self, workspace: str, manifest: Object) -> Resource:
        try:
            resource = await self.mapper(workspace).resource(manifest["apiVersion"], manifest["kind"])
        except UnknownKind as error:
            raise RequestRejected("InvalidRequest", str(error)) from None
        if not resource.namespaced:
            raise RequestRejected("InvalidRequest", f"{resource.kind} has no namespace: a request cannot bring it")
        return resource

    def mapper(self, workspace: str) -> RestMapper:
        """What a workspace serves."""
        mapper = self._mappers.get(workspace)
        if mapper is None:
            self._mappers.put(workspace, mapper := RestMapper(self._hub.at(workspace)))
        return mapper

    async def _present(self, ref: PlacementRef) -> Object | None:
        """The metadata of the Placement as it is, read as ourselves."""
        try:
            found: Any = await self._hub.at(ref.workspace).get(PLACEMENTS, ref.name, ref.namespace)
        except ApiError as error:
            if error.absent(ref.name):
                return None
            raise
        metadata: Object = found["metadata"]
        return metadata

    def _manifest(self, placing: Placing, found: Object | None, requester: Requester) -> Object:
        """What is applied, on condition that the object is still the one that was read, or that there is still none."""
        metadata: Object = {**placing.manifest["metadata"], "resourceVersion": _NONE_YET}
        if found is not None:
            metadata |= {"uid": found["uid"], "resourceVersion": found["resourceVersion"]}
        if self._hub.kind == "kcp":
            named = msgspec.json.encode(requester).decode()
            metadata["annotations"] = {**(metadata.get("annotations") or {}), REQUESTER_ANNOTATION: named}
        if placing.hold:
            metadata["annotations"] = {**(metadata.get("annotations") or {}), HOLD_ANNOTATION: placing.hold}
        return {**placing.manifest, "metadata": metadata}


def _is_of_fields(error: ApiError) -> bool:
    """Whether a conflict is over fields that another manager owns, and not over a version."""
    return any(cause.get("reason") == "FieldManagerConflict" for cause in error.details.get("causes", ()))


def rejection(error: ApiError) -> RequestRejected | None:
    """The API server's own reason, as an answer; None where another try may help."""
    if (error.transient or error.unauthorized) and _MISTYPED not in error.message:
        return None
    if error.forbidden:
        return RequestRejected("Forbidden", str(error))
    if error.not_found:
        return RequestRejected("NotFound", str(error))
    return RequestRejected("Conflict" if error.status == 409 else "InvalidRequest", str(error))


def after(error: KubeError | Retry | ValueError, attempt: int) -> RequestRejected | Retry:
    """What follows from an error of a `Writer` at delivery number `attempt`: another try, or an answer."""
    if isinstance(error, ApiError):
        return _after_answer(error, attempt)
    if isinstance(error, TooLarge):
        return RequestRejected("InvalidRequest", str(error))
    if isinstance(error, KubeError):
        return _again(error, attempt, OUTAGE)
    if isinstance(error, Retry):
        return error if attempt < GIVE_UP else RequestRejected("Unavailable", str(error))
    return RequestRejected("NotFound", str(error))  # a workspace, or a name, that leads nowhere


def _after_answer(error: ApiError, attempt: int) -> RequestRejected | Retry:
    why = rejection(error)
    if why is None:
        return _again(error, attempt, GIVE_UP if error.status == 500 else OUTAGE)
    if error.not_found and not error.reason and attempt < GIVE_UP:  # the kind is not served there, or not yet
        return _again(error, attempt, GIVE_UP)
    return why


def _again(error: KubeError, attempt: int, most: int) -> RequestRejected | Retry:
    if attempt >= most:
        return RequestRejected("Unavailable", str(error))
    asked = error.retry_after if isinstance(error, ApiError) else None
    return Retry(asked or backoff(attempt, most=5.0), str(error))
