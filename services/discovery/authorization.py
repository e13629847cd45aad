"""May this requester use that target? The target's own workspace is asked."""

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple, Protocol

import msgspec

from services.discovery.core import Verdict
from services.discovery.projection import Projection
from services.discovery.settings import DiscoverySettings
from shared.aio.lru import Lru
from shared.broker.tokens import join
from shared.hub.hub import Hub
from shared.hub.resources import SYNCTARGETS
from shared.kube.client import Bounds, Client
from shared.kube.errors import ApiError, KubeError
from shared.kube.informer import Informer
from shared.kube.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, SUBJECTACCESSREVIEWS, Resource
from shared.model.refs import TargetRef
from shared.model.request import Requester
from shared.model.target import Workspace

log = logging.getLogger("moorage.discovery")

REMEMBERED = 100_000  # answers; about 30 MB
MOST_ROLES = Bounds(objects=20_000, bytes=256 << 20)  # of one kind in one workspace; 0.5 KB each are kept
RETRY_DELAYS = (0.1, 0.5)  # seconds before each further try of a review that failed
SETTLING = 1.0
"""Seconds from a change of RBAC until others are told of it. API servers follow RBAC by watching as well, so that one
may still answer by the old state while another has told us of the new one. Changes come in bursts, too."""

EVERY = ""
"""In place of a name: all targets of the workspace."""


class Authorizer(Protocol):
    """Who may use what."""

    async def verdicts(self, requester: Requester | None, targets: Collection[str]) -> dict[str, Verdict]:
        """The verdict on each of these target ids. Raises nothing: what cannot be found out is Unknown."""
        ...

    async def follow(self, workspace: str, client: Client) -> None:
        """Follow what decides in a workspace that has targets, until cancelled or for as long as there is a need."""
        ...

    async def close(self) -> None: ...


class AllowAll(Authorizer):
    """Everybody may use everything; only where the settings say so in so many words."""

    async def verdicts(self, requester: Requester | None, targets: Collection[str]) -> dict[str, Verdict]:  # noqa: ARG002 - everybody
        return dict.fromkeys(targets, "Allowed")

    async def follow(self, workspace: str, client: Client) -> None:
        """There is nothing to follow."""

    async def close(self) -> None:
        """There is nothing to close."""


class _Question(NamedTuple):
    """`state` is that of RBAC in the workspace: after a change, the same words are another question."""

    username: str
    groups: tuple[str, ...]
    workspace: str
    name: str
    state: tuple[int, int]


class _Meta(msgspec.Struct, rename="camel"):
    resource_version: str


class _Object(msgspec.Struct):
    metadata: _Meta


_OBJECT = msgspec.json.Decoder(_Object)


class _ReviewStatus(msgspec.Struct):
    allowed: bool = False


class _Review(msgspec.Struct):
    status: _ReviewStatus


class AccessReviews(Authorizer):
    """Asks by SubjectAccessReview: verb `use` on the synctarget, first on all of a workspace, then on each.

    Answers are remembered for `allowed_ttl_seconds` or `denied_ttl_seconds`; the least recently used go first. A
    question that is already under way is not asked twice.

    In a workspace that is followed, a change of RBAC ends all of them at once: of ClusterRoles and ClusterRoleBindings,
    since a Role cannot give rights on what has no namespace. What decides elsewhere (a webhook; in kcp, the export's
    policy) takes until then.

    Such a change is also recorded on the stored workspace (`Workspace.rbac`), so that the controller has placements
    tried again that wait. All copies of the worker derive the same record from the same objects, so one of them writes
    it, and none of them when it starts and nothing has changed. Answers are forgotten before that, and by copies that
    have not seen the change themselves, when they see the record.
    """

    def __init__(
        self, hub: Hub, settings: DiscoverySettings, clock: Callable[[], float], workspaces: Projection[Workspace]
    ) -> None:
        self._hub = hub
        self._settings = settings
        self._clock = clock
        self._workspaces = workspaces
        self._answers: Lru[_Question, tuple[Verdict, float]] = Lru(REMEMBERED)
        self._pending: dict[_Question, asyncio.Task[Verdict]] = {}
        self._changes: Counter[str] = Counter()
        self._room = asyncio.Semaphore(settings.review_concurrency)

    async def verdicts(self, requester: Requester | None, targets: Collection[str]) -> dict[str, Verdict]:
        if requester is None or not requester.username:
            return dict.fromkeys(targets, "NoRequester")
        names: dict[str, list[str]] = {}
        for target in targets:
            ref = TargetRef.parse(target)
            names.setdefault(ref.workspace, []).append(ref.name)
        answers = await asyncio.gather(*(self._workspace(requester, *item) for item in names.items()))
        return {target: verdict for answer in answers for target, verdict in answer.items()}

    async def follow(self, workspace: str, client: Client) -> None:
        """Forget all answers of a workspace when its RBAC changes, and record the change, until cancelled.

        Where that may not be watched it is tried again from time to time, and answers end by their time alone.
        """
        changed = asyncio.Event()
        informers = [self._informer(client, resource) for resource in (CLUSTERROLES, CLUSTERROLEBINDINGS)]
        async with asyncio.TaskGroup() as tasks:
            for informer in informers:
                tasks.create_task(self._forget(workspace, informer, changed))
            while True:
                await changed.wait()
                await asyncio.sleep(SETTLING)
                changed.clear()
                if all(informer.synced.is_set() for informer in informers):
                    self._changes[workspace] += 1  # an answer since may have been by the old state
                    self._record(workspace, (each for informer in informers for each in informer.objects.values()))

    def _informer(self, client: Client, resource: Resource) -> Informer[str]:
        """Of an object, its version is all that is kept."""
        return Informer(
            client, resource, decode=_version, refused=self._settings.absent_retry_seconds, limit=MOST_ROLES
        )

    async def _forget(self, workspace: str, informer: Informer[str], changed: asyncio.Event) -> None:
        async with informer:
            async for _ in informer.events():
                self._changes[workspace] += 1
                changed.set()

    def _record(self, workspace: str, versions: Iterable[str]) -> None:
        """Have the stored workspace say what state its RBAC is in. One that is not stored (yet) is news by itself."""
        rbac = hashlib.sha256(" ".join(sorted(versions)).encode()).hexdigest()[:16]

        def recorded(stored: Workspace | None) -> Workspace | None:
            return None if stored is None else msgspec.structs.replace(stored, rbac=rbac)

        key = join(workspace)
        self._workspaces.want(key, recorded(self._workspaces.latest(key)), recorded)

    def _state(self, workspace: str) -> tuple[int, int]:
        """How new RBAC is as far as it is known here: by the changes seen, and by what any copy has recorded."""
        stored = self._workspaces.view.entries.get(join(workspace))
        return self._changes[workspace], stored.revision if stored is not None else 0

    async def close(self) -> None:
        """Give up what is still being asked."""
        for task in (pending := list(self._pending.values())):
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    async def _workspace(self, requester: Requester, workspace: str, names: list[str]) -> dict[str, Verdict]:
        groups = tuple(sorted(requester.groups))
        state = self._state(workspace)
        whole = await self._ask(_Question(requester.username, groups, workspace, EVERY, state))
        if whole != "Denied":  # one that cannot be asked about the whole cannot be asked about the parts
            return {TargetRef(workspace=workspace, name=name).id: whole for name in names}
        questions = [_Question(requester.username, groups, workspace, name, state) for name in names]
        verdicts = await asyncio.gather(*(self._ask(question) for question in questions))
        ids = (TargetRef(workspace=workspace, name=name).id for name in names)
        return dict(zip(ids, verdicts, strict=True))

    async def _ask(self, question: _Question) -> Verdict:
        remembered = self._answers.get(question)
        if remembered is not None and self._clock() < remembered[1]:
            return remembered[0]
        task = self._pending.get(question)
        if task is None:
            task = self._pending[question] = asyncio.create_task(self._review(question))
            task.add_done_callback(lambda _: self._pending.pop(question, None))
        return await asyncio.shield(task)  # whoever asked first may be cancelled; the others still want to know

    async def _review(self, question: _Question) -> Verdict:
        async with self._room:
            verdict = await self._post(question)
        if verdict != "Unknown":
            ttl = self._settings.allowed_ttl_seconds if verdict == "Allowed" else self._settings.denied_ttl_seconds
            self._answers.put(question, (verdict, self._clock() + ttl))
        return verdict

    async def _post(self, question: _Question) -> Verdict:
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


def _version(raw: bytes) -> str:
    return _OBJECT.decode(raw).metadata.resource_version


def _review_of(question: _Question) -> dict[str, Any]:
    attributes = {
        "verb": "use",
        "group": SYNCTARGETS.group,
        "version": SYNCTARGETS.version,
        "resource": SYNCTARGETS.plural,
    }
    if question.name:
        attributes["name"] = question.name
    return {
        "apiVersion": SUBJECTACCESSREVIEWS.api_version,
        "kind": SUBJECTACCESSREVIEWS.kind,
        "spec": {"user": question.username, "groups": list(question.groups), "resourceAttributes": attributes},
    }
