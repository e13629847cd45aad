"""Objects that workloads refer to, followed where placements take it along: versions only, never content."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from shared.hub.references import REFERRED, selects
from shared.hub.workload import Selected
from shared.kube.client import Client
from shared.kube.errors import ApiError, KubeError
from shared.kube.informer import Informer
from shared.kube.subscription import Change
from shared.model.refs import PlacementRef

Labels = dict[str, str]


class ObjectVersion(msgspec.Struct, frozen=True):
    """Which state of an object it is, which pods it selects if it is a Service, and which Secrets it names if it is a
    ServiceAccount.
    """

    text: str
    selector: Labels = {}
    secrets: tuple[str, ...] = ()


class _Needs(msgspec.Struct, frozen=True):
    names: frozenset[tuple[str, str]]  # kind and name
    labels: tuple[Labels, ...]  # of the pods that Services may select


@dataclass
class _Followed:
    """One kind in one namespace. `known` is set when it was read once, or cannot be read at all."""

    informer: Informer[ObjectVersion]
    known: asyncio.Event = field(default_factory=asyncio.Event)


class Referred:
    """Follows the kinds that placements of one workspace refer to, in their namespaces, from when first asked.

    `notify` hears of each placement for which something changed. `run` must be running.
    """

    def __init__(self, client: Client, notify: Callable[[PlacementRef], None]) -> None:
        self._client = client
        self._notify = notify
        self._followed: dict[tuple[str, str], _Followed] = {}
        self._needs: dict[PlacementRef, _Needs] = {}
        self._wanted: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    async def run(self) -> None:
        """Follow what is asked for until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                namespace, kind = await self._wanted.get()
                tasks.create_task(self._follow(namespace, kind), name=f"follow {kind} in {namespace}")

    async def versions(self, ref: PlacementRef, workload: Sequence[Selected], timeout: float) -> tuple[str, ...]:
        """The versions of all that goes along with a workload; from now on, changes of it are told.

        What cannot be read for want of rights, or is no kind of this workspace, counts as absent. Raises TimeoutError
        where it cannot be read within `timeout` seconds for any other reason.
        """
        names = frozenset((each.kind, each.name) for obj in workload for each in obj.references)
        labels = tuple(each for obj in workload for each in obj.pod_labels)
        self._needs[ref] = _Needs(names, labels)
        kinds = {kind for kind, _ in names} | ({"Service"} if labels else set())
        async with asyncio.timeout(timeout):
            followed = await self._read(ref.namespace, kinds)
            further = self._named_by(ref.namespace, names, followed) - names
            if further:
                names |= further
                self._needs[ref] = _Needs(names, labels)
                followed |= await self._read(ref.namespace, {kind for kind, _ in further})
        found = {f"{kind} {name}": followed[kind].informer.objects.get((ref.namespace, name)) for kind, name in names}
        if labels:
            services = followed["Service"].informer.objects.items()
            found |= {f"Service {name}": each for (_, name), each in services if selects(each.selector, labels)}
        return tuple(sorted(f"{name}@{version.text}" for name, version in found.items() if version is not None))

    async def _read(self, namespace: str, kinds: Iterable[str]) -> dict[str, "_Followed"]:
        followed = {kind: self._ask(namespace, kind) for kind in sorted(kinds)}
        await asyncio.gather(*(each.known.wait() for each in followed.values()))
        return followed

    def _named_by(
        self, namespace: str, names: Iterable[tuple[str, str]], followed: dict[str, "_Followed"]
    ) -> frozenset[tuple[str, str]]:
        """What objects that are referred to name themselves: ServiceAccounts their pull secrets."""
        found = (followed[kind].informer.objects.get((namespace, name)) for kind, name in names)
        return frozenset(("Secret", secret) for each in found if each is not None for secret in each.secrets)

    def forget(self, ref: PlacementRef) -> None:
        """A placement is gone, or takes nothing along any more."""
        self._needs.pop(ref, None)

    def _ask(self, namespace: str, kind: str) -> _Followed:
        key = (namespace, kind)
        if key not in self._followed:
            decode = _DECODERS.get(kind, _object)
            informer = Informer(
                self._client,
                REFERRED[kind],
                namespace=namespace,
                decode=decode,
                on_error=lambda error: self._refused(key, error),
            )
            self._followed[key] = _Followed(informer)
            self._wanted.put_nowait(key)
        return self._followed[key]

    async def _follow(self, namespace: str, kind: str) -> None:
        followed = self._followed[namespace, kind]
        async with followed.informer:
            async for change in followed.informer.events():
                if change.kind == "Synced":
                    followed.known.set()
                elif followed.known.is_set():
                    self._tell(kind, change)

    def _refused(self, key: tuple[str, str], error: KubeError) -> None:
        if isinstance(error, ApiError) and (error.forbidden or error.not_found):
            self._followed[key].known.set()

    def _tell(self, kind: str, change: Change[ObjectVersion]) -> None:
        namespace, name = change.key
        selectors = [each.selector for each in (change.old, change.object) if each is not None]
        for ref, needs in list(self._needs.items()):
            if ref.namespace == namespace and _concerned(needs, kind, name, selectors):
                self._notify(ref)


def _concerned(needs: _Needs, kind: str, name: str, selectors: Iterable[Labels]) -> bool:
    return (kind, name) in needs.names or any(selects(each, needs.labels) for each in selectors)


class _Metadata(msgspec.Struct, rename="camel"):
    uid: str = ""
    resource_version: str = ""


class _Object(msgspec.Struct):
    metadata: _Metadata


class _ServiceSpec(msgspec.Struct):
    selector: Labels | None = None


class _Service(msgspec.Struct):
    metadata: _Metadata
    spec: _ServiceSpec = msgspec.field(default_factory=_ServiceSpec)


class _Account(msgspec.Struct, rename="camel"):
    metadata: _Metadata
    image_pull_secrets: tuple[dict[str, Any], ...] | None = None


_DECODE_ACCOUNT = msgspec.json.Decoder(_Account).decode
_DECODE_OBJECT = msgspec.json.Decoder(_Object).decode
_DECODE_SERVICE = msgspec.json.Decoder(_Service).decode


def _object(raw: bytes) -> ObjectVersion:
    return ObjectVersion(_version(_DECODE_OBJECT(raw).metadata))


def _service(raw: bytes) -> ObjectVersion:
    found = _DECODE_SERVICE(raw)
    return ObjectVersion(_version(found.metadata), found.spec.selector or {})


def _account(raw: bytes) -> ObjectVersion:
    found = _DECODE_ACCOUNT(raw)
    names = (str(each.get("name") or "") for each in found.image_pull_secrets or ())
    return ObjectVersion(_version(found.metadata), secrets=tuple(name for name in names if name))


_DECODERS = {"Service": _service, "ServiceAccount": _account}


def _version(metadata: _Metadata) -> str:
    return f"{metadata.uid}/{metadata.resource_version}"
