"""May this requester do that? The workspace that it concerns is asked, by SubjectAccessReview."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Hashable
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from shared.aio.lru import Lru
from shared.hub.hub import Hub
from shared.hub.resources import SYNCTARGETS
from shared.kube.errors import ApiError, KubeError
from shared.kube.resources import SUBJECTACCESSREVIEWS, Resource
from shared.model.refs import TargetRef
from shared.model.request import Permission, Requester
from shared.process.settings import AccessSettings

log = logging.getLogger("moorage.access")

REMEMBERED = 100_000  # answers; about 30 MB
RETRY_DELAYS = (0.1, 0.5)  # seconds before each further try of a review that failed


class Action(NamedTuple):
    """Something to be allowed: a verb on a resource, on one object of it, or (without a name) on all of them."""

    verb: str
    resource: Resource
    namespace: str = ""
    name: str = ""


class Access(Protocol):
    """Who may do what."""

    async def may(self, requester: Requester | None, workspace: str, action: Action) -> Permission:
        """The permission for one action in a workspace. Raises nothing: what cannot be found out is Unknown."""
        ...

    async def may_use(self, requester: Requester | None, targets: Collection[str]) -> dict[str, Permission]:
        """The permission for each of these target ids. Raises nothing: what cannot be found out is Unknown."""
        ...


class AllowAll(Access):
    """Everybody may do everything; only where the settings say so in so many words."""

    async def may(self, requester: Requester | None, workspace: str, action: Action) -> Permission:  # noqa: ARG002 - everybody
        return "Allowed"

    async def may_use(self, requester: Requester | None, targets: Collection[str]) -> dict[str, Permission]:  # noqa: ARG002 - everybody
        return dict.fromkeys(targets, "Allowed")


class _Who(NamedTuple):
    username: str
    uid: str
    groups: tuple[str, ...]
    extra: tuple[tuple[str, tuple[str, ...]], ...]

    @classmethod
    def of(cls, requester: Requester) -> "_Who":
        extra = tuple(sorted((key, tuple(values)) for key, values in requester.extra.items()))
        return cls(requester.username, requester.uid, tuple(sorted(requester.groups)), extra)


class _Question(NamedTuple):
    """`state` is that of RBAC in the workspace: after a change, the same words are another question."""

    who: _Who
    workspace: str
    action: Action
    state: Hashable


class _ReviewStatus(msgspec.Struct):
    allowed: bool = False


class _Review(msgspec.Struct):
    status: _ReviewStatus


USE_ANY: Final = Action("use", SYNCTARGETS)


class AccessReviews(Access):
    """Asks by SubjectAccessReview, in the name of the whole requester: user name, uid, groups and extra.

    Answers are remembered for `allowed_ttl_seconds` or `denied_ttl_seconds`; the least recently used go first. A
    question that is already under way is not asked twice. `state` stands for RBAC in a workspace, as far as the caller
    follows it: when it changes, what was remembered of the workspace does not count any more.
    """

    def __init__(
        self,
        hub: Hub,
        settings: AccessSettings,
        clock: Callable[[], float],
        state: Callable[[str], Hashable] = lambda _: None,
    ) -> None:
        self._hub = hub
        self._settings = settings
        self._clock = clock
        self._state = state
        self._answers: Lru[_Question, tuple[Permission, float]] = Lru(REMEMBERED)
        self._pending: dict[_Question, asyncio.Task[Permission]] = {}
        self._room = asyncio.Semaphore(settings.review_concurrency)

    async def may(self, requester: Requester | None, workspace: str, action: Action) -> Permission:
        if requester is None or not requester.username:
            return "NoRequester"
        return await self._ask(_Question(_Who.of(requester), workspace, action, self._state(workspace)))

    async def may_use(self, requester: Requester | None, targets: Collection[str]) -> dict[str, Permission]:
        """Verb `use` on the synctargets: first on all of a workspace, then on each."""
        if requester is None or not requester.username:
            return dict.fromkeys(targets, "NoRequester")
        names: dict[str, list[str]] = {}
        for target in targets:
            ref = TargetRef.parse(target)
            names.setdefault(ref.workspace, []).append(ref.name)
        who = _Who.of(requester)
        answers = await asyncio.gather(*(self._workspace(who, *item) for item in names.items()))
        return {target: permission for answer in answers for target, permission in answer.items()}

    async def close(self) -> None:
        """Give up what is still being asked."""
        for task in (pending := list(self._pending.values())):
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    async def _workspace(self, who: _Who, workspace: str, names: list[str]) -> dict[str, Permission]:
        state = self._state(workspace)
        whole = await self._ask(_Question(who, workspace, USE_ANY, state))
        if whole != "Denied":  # one that cannot be asked about the whole cannot be asked about the parts
            return {TargetRef(workspace=workspace, name=name).id: whole for name in names}
        questions = [_Question(who, workspace, USE_ANY._replace(name=name), state) for name in names]
        permissions = await asyncio.gather(*(self._ask(question) for question in questions))
        ids = (TargetRef(workspace=workspace, name=name).id for name in names)
        return dict(zip(ids, permissions, strict=True))

    async def _ask(self, question: _Question) -> Permission:
        remembered = self._answers.get(question)
        if remembered is not None and self._clock() < remembered[1]:
            return remembered[0]
        task = self._pending.get(question)
        if task is None:
            task = self._pending[question] = asyncio.create_task(self._review(question))
            task.add_done_callback(lambda _: self._pending.pop(question, None))
        return await asyncio.shield(task)  # whoever asked first may be cancelled; the others still want to know

    async def _review(self, question: _Question) -> Permission:
        async with self._room:
            permission = await self._post(question)
        if permission != "Unknown":
            ttl = self._settings.allowed_ttl_seconds if permission == "Allowed" else self._settings.denied_ttl_seconds
            self._answers.put(question, (permission, self._clock() + ttl))
        return permission

    async def _post(self, question: _Question) -> Permission:
        """One review, tried again where the failure may pass. An error is not a denial."""
        for delay in (*RETRY_DELAYS, None):
            try:
                review = await self._hub.at(question.workspace).create(
                    SUBJECTACCESSREVIEWS, _review_of(question), type=_Review
                )
            except (KubeError, ValueError) as error:
                last = isinstance(error, ApiError) and not (error.transient or error.forbidden)
                if delay is None or last:
                    log.warning("no access review", extra={"workspace": question.workspace, "error": str(error)})
                    return "Unknown"
                await asyncio.sleep(delay)
                continue
            return "Allowed" if review.status.allowed else "Denied"
        raise AssertionError


@asynccontextmanager
async def open_access(
    hub: Hub, settings: AccessSettings, clock: Callable[[], float], state: Callable[[str], Hashable] = lambda _: None
) -> AsyncIterator[Access]:
    """The way to ask that the settings choose, until the block ends. See `AccessReviews`."""
    if settings.authorization == "AllowAll":
        yield AllowAll()
        return
    reviews = AccessReviews(hub, settings, clock, state)
    try:
        yield reviews
    finally:
        await reviews.close()


def _review_of(question: _Question) -> dict[str, Any]:
    who, action = question.who, question.action
    attributes = {
        "verb": action.verb,
        "group": action.resource.group,
        "version": action.resource.version,
        "resource": action.resource.plural,
        "namespace": action.namespace,
        "name": action.name,
    }
    spec = {
        "user": who.username,
        "uid": who.uid,
        "groups": list(who.groups),
        "extra": {key: list(values) for key, values in who.extra},
        "resourceAttributes": {name: value for name, value in attributes.items() if value},
    }
    return {
        "apiVersion": SUBJECTACCESSREVIEWS.api_version,
        "kind": SUBJECTACCESSREVIEWS.kind,
        "spec": {name: value for name, value in spec.items() if value},
    }
