"""May this requester do that? The workspace that it concerns is asked, by SubjectAccessReview."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from shared.aio.gate import Gate
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
REMEMBERED_TOGETHER = 64
"""Collections of targets of which the answers are remembered as one: whoever is asked of all targets is so often."""
AT_ONCE = 256
"""Reviews about a collection of targets that wait for their turn at the same time."""
RETRY_DELAYS = (0.1, 0.5)  # seconds before each further try of a review that failed


class Action(NamedTuple):
    """Something to be allowed: a verb on a resource, on one object of it, or (without a name) on all of them; or, where
    there is no resource, on a path of the API server."""

    verb: str
    resource: Resource | None
    namespace: str = ""
    name: str = ""
    path: str = ""


class Access(Protocol):
    """Who may do what."""

    async def may(self, requester: Requester | None, workspace: str, action: Action) -> Permission:
        """The permission for one action in a workspace. Raises nothing: what cannot be found out is Unknown."""
        ...

    async def may_use(
        self, requester: Requester | None, targets: Collection[str], within: float | None = None
    ) -> Mapping[str, Permission]:
        """The permission for each of these target ids. Raises nothing: what cannot be found out is Unknown, and what
        is not asked `within` so many seconds (None: however long it takes) is Unasked. NoAccess is Denied as well, and
        says that the requester may not even enter the target's workspace."""
        ...


class AllowAll(Access):
    """Everybody may do everything; only where the settings say so in so many words."""

    async def may(self, requester: Requester | None, workspace: str, action: Action) -> Permission:  # noqa: ARG002 - everybody
        return "Allowed"

    async def may_use(
        self,
        requester: Requester | None,  # noqa: ARG002 - everybody
        targets: Collection[str],
        within: float | None = None,  # noqa: ARG002 - at once
    ) -> Mapping[str, Permission]:
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


class _Answer(NamedTuple):
    """A permission, and until when it is remembered; 0: not at all."""

    permission: Permission
    until: float = 0.0


class _Together(NamedTuple):
    """Permissions for some targets, which hold until a time, and while RBAC of their workspaces is the same."""

    permissions: Mapping[str, Permission]
    until: float
    states: tuple[tuple[str, Hashable], ...]


class _ReviewStatus(msgspec.Struct):
    allowed: bool = False


class _Review(msgspec.Struct):
    status: _ReviewStatus


DENIED: Final = frozenset[Permission](("Denied", "NoAccess"))
"""That the requester may not."""
_UNASKED: Final = _Answer("Unasked")
USE_ANY: Final = Action("use", SYNCTARGETS)
ENTER: Final = Action("access", None, path="/")
"""What kcp asks for of whoever comes to a workspace, before any right counts there."""


class AccessReviews(Access):
    """Asks by SubjectAccessReview, in the name of the whole requester: user name, uid, groups and extra.

    Answers are remembered for `allowed_ttl_seconds` or `denied_ttl_seconds`; the least recently used go first. A
    question that is already under way is not asked twice, and requesters are asked about in turn, so that nobody waits
    behind another's ten thousand targets. `state` stands for RBAC in a workspace, as far as the caller
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
        self._answers: Lru[_Question, _Answer] = Lru(REMEMBERED)
        self._together: Lru[tuple[_Who, tuple[str, ...]], _Together] = Lru(REMEMBERED_TOGETHER)
        self._pending: dict[_Question, asyncio.Task[_Answer]] = {}
        self._gate = Gate(settings.review_concurrency)

    async def may(self, requester: Requester | None, workspace: str, action: Action) -> Permission:
        if requester is None or not requester.username:
            return "NoRequester"
        return (await self._ask(_Question(_Who.of(requester), workspace, action, self._state(workspace)))).permission

    async def may_use(
        self, requester: Requester | None, targets: Collection[str], within: float | None = None
    ) -> Mapping[str, Permission]:
        """Verb `use` on the synctargets: first on all of a workspace, then on each.

        Of these, first on those that were allowed before: where there is no time for all, that is what is of use. What
        was found out is remembered, so that who asks again is told of more.
        """
        if requester is None or not requester.username:
            return dict.fromkeys(targets, "NoRequester")
        who, targets = _Who.of(requester), tuple(targets)
        known = self._together.get((who, targets))
        if known is None or not self._holds(known):
            until = None if within is None else asyncio.get_running_loop().time() + within
            known = await self._asked_together(who, targets, until)
            if known.until:
                self._together.put((who, targets), known)
        return known.permissions

    def _holds(self, known: _Together) -> bool:
        return self._clock() < known.until and all(self._state(path) == state for path, state in known.states)

    async def _asked_together(self, who: _Who, targets: Sequence[str], until: float | None) -> _Together:
        names: dict[str, list[str]] = {}
        for target in targets:
            names.setdefault(TargetRef.parse(target).workspace, []).append(target)
        states = tuple((workspace, self._state(workspace)) for workspace in names)
        asked = [self._workspace(who, workspace, names[workspace], state, until) for workspace, state in states]
        told = await asyncio.gather(*asked) if len(asked) > 1 else [await each for each in asked]  # one needs no task
        answers = {target: each for found in told for target, each in found.items()}
        holds_until = min((each.until for each in answers.values()), default=0.0)
        return _Together({target: each.permission for target, each in answers.items()}, holds_until, states)

    async def close(self) -> None:
        """Give up what is still being asked."""
        for task in (pending := list(self._pending.values())):
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    async def _workspace(
        self, who: _Who, workspace: str, targets: Sequence[str], state: Hashable, until: float | None
    ) -> Mapping[str, _Answer]:
        whole = _UNASKED
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                whole = await self._ask(_Question(who, workspace, USE_ANY, state))
        if whole.permission != "Denied":  # one that cannot be asked about the whole cannot be asked about the parts
            return dict.fromkeys(targets, whole)
        if self._hub.kind == "kcp" and (entering := await self._entering(who, workspace, state, until)):
            return dict.fromkeys(targets, entering)
        questions = {
            target: _Question(who, workspace, Action("use", SYNCTARGETS, name=TargetRef.parse(target).name), state)
            for target in targets
        }
        answers = await self._each(list(questions.values()), until)
        # No answer about a target is remembered for longer than that about all of them, which is asked first.
        return {
            target: answer._replace(until=min(answer.until, whole.until))
            for target, answer in ((target, answers[question]) for target, question in questions.items())
        }

    async def _entering(self, who: _Who, workspace: str, state: Hashable, until: float | None) -> _Answer | None:
        """The answer about all targets of a workspace for whoever may not enter it; None where they may, or nobody
        says."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                found = await self._ask(_Question(who, workspace, ENTER, state))
                return found._replace(permission="NoAccess") if found.permission == "Denied" else None
        return None

    async def _each(self, questions: Sequence[_Question], until: float | None) -> Mapping[_Question, _Answer]:
        """An answer to each, Unasked to those to which there was none in time."""
        answers = {question: self._remembered(question) or _UNASKED for question in questions}
        missing = [question for question, answer in answers.items() if answer is _UNASKED]
        missing.sort(key=lambda question: not self._was_allowed(question))
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                for first in range(0, len(missing), AT_ONCE):
                    some = missing[first : first + AT_ONCE]
                    answers.update(zip(some, await asyncio.gather(*map(self._ask, some)), strict=True))
        return {question: self._remembered(question) or answer for question, answer in answers.items()}

    def _was_allowed(self, question: _Question) -> bool:
        found = self._answers.get(question)
        return found is not None and found.permission == "Allowed"

    def _remembered(self, question: _Question) -> _Answer | None:
        found = self._answers.get(question)
        return found if found is not None and self._clock() < found.until else None

    async def _ask(self, question: _Question) -> _Answer:
        remembered = self._remembered(question)
        if remembered is not None:
            return remembered
        task = self._pending.get(question)
        if task is None:
            task = self._pending[question] = asyncio.create_task(self._review(question))
            task.add_done_callback(lambda _: self._pending.pop(question, None))
        return await asyncio.shield(task)  # whoever asked first may be cancelled; the others still want to know

    async def _review(self, question: _Question) -> _Answer:
        async with self._gate.through(question.who.username):
            permission = await self._post(question)
        if permission == "Unknown":
            return _Answer(permission)
        ttl = self._settings.allowed_ttl_seconds if permission == "Allowed" else self._settings.denied_ttl_seconds
        answer = _Answer(permission, self._clock() + ttl)
        self._answers.put(question, answer)
        return answer

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
    spec = {
        "user": who.username,
        "uid": who.uid,
        "groups": list(who.groups),
        "extra": {key: list(values) for key, values in who.extra},
        **_attributes(action),
    }
    return {
        "apiVersion": SUBJECTACCESSREVIEWS.api_version,
        "kind": SUBJECTACCESSREVIEWS.kind,
        "spec": {name: value for name, value in spec.items() if value},
    }


def _attributes(action: Action) -> dict[str, Any]:
    """What is asked about, as a SubjectAccessReview has it."""
    if action.resource is None:
        return {"nonResourceAttributes": {"verb": action.verb, "path": action.path}}
    attributes = {
        "verb": action.verb,
        "group": action.resource.group,
        "version": action.resource.version,
        "resource": action.resource.plural,
        "namespace": action.namespace,
        "name": action.name,
    }
    return {"resourceAttributes": {name: value for name, value in attributes.items() if value}}
