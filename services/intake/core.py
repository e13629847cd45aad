"""What a request asks for, and whether it may ask for it in this form. Pure: an event in, what is to be done out."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec

from shared.api import API_VERSION, GROUP, duration_seconds
from shared.broker.subjects import is_subject
from shared.cloudevents import CloudEvent
from shared.hub.names import RESERVED_PREFIXES
from shared.kube.resources import group_of
from shared.model.asking import DecideRequest, PlaceRequest, RequestRejectionCode, WithdrawRequest, request_type
from shared.model.refs import PlacementRef
from shared.pipeline.requests import INBOX, REPLY_TO, RequestSubject

T = TypeVar("T", PlaceRequest, WithdrawRequest, DecideRequest)

LONGEST_REPLY_TO = 256
MOST_VALUES = 50_000
"""JSON values of a request: for each of a hundred objects and the Placement some five hundred. An API server takes
seconds to say what is wrong with more."""

_METADATA = frozenset({"name", "namespace", "labels", "annotations"})
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_HOLD = re.compile(r"[0-9a-f]{32}")
_WORKSPACE_ANNOTATIONS = ("kcp.io/path", "kcp.io/cluster")
_NOT_WORKLOAD = frozenset(
    {
        GROUP, "admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "apis.kcp.io",
        "authentication.k8s.io", "authorization.k8s.io", "certificates.k8s.io", "core.kcp.io",
        "rbac.authorization.k8s.io", "tenancy.kcp.io",
    }
)  # fmt: skip
"""API groups of what nobody places: by it, rights are given, or what an API server serves and admits is changed."""


class RequestRejected(Exception):
    """A request that is not carried out; the message is for whoever published it."""

    def __init__(self, code: RequestRejectionCode, message: str) -> None:
        super().__init__(message)
        self.code: RequestRejectionCode = code


class Placing(NamedTuple):
    """A Placement to apply, after the objects that come with it."""

    placement: PlacementRef
    manifest: dict[str, Any]
    objects: tuple[dict[str, Any], ...] = ()
    hold: str = ""


class Withdrawing(NamedTuple):
    """A Placement to delete."""

    placement: PlacementRef


class ToDecide(msgspec.Struct, frozen=True):
    """A Placement that is asked about: its manifest, or None for one that is there, with `changes` of its spec; and the
    objects that come with it. `reserve`: for how many seconds to hold what would be decided."""

    placement: PlacementRef
    manifest: dict[str, Any] | None = None
    objects: tuple[dict[str, Any], ...] = ()
    changes: dict[str, Any] = {}
    reserve: float = 0.0


def wanted(event: CloudEvent, asked: RequestSubject) -> Placing | Withdrawing:
    """What an event asks to be done that came on a subject. Raises RequestRejected."""
    _check_form(event, asked)
    return _placing(event.data, asked) if asked.verb == "place" else _withdrawing(event.data, asked)


def to_decide(event: CloudEvent, asked: RequestSubject) -> ToDecide:
    """What an event asks about that came on a subject. Raises RequestRejected."""
    _check_form(event, asked)
    request = _read(event.data, DecideRequest)
    _check_speaker(request, asked)
    try:
        reserve = duration_seconds(request.reserve) if request.reserve else 0.0
    except ValueError as error:
        raise RequestRejected("InvalidRequest", f"reserve: {error}") from None
    if request.placement is None:
        ref, manifest = _ref({"namespace": request.namespace, "name": request.name}, asked), None
    elif request.namespace or request.name or request.changes:
        raise RequestRejected("InvalidRequest", "it has a Placement, and names one that is there as well")
    else:
        ref, manifest = _placement(request.placement, asked)
    objects = tuple(_object(each, ref, asked) for each in request.objects)
    return ToDecide(ref, manifest, objects, request.changes, reserve)


def merged(old: Any, patch: Any) -> Any:
    """A value with a merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    kept = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            kept.pop(name, None)
        else:
            kept[name] = merged(kept.get(name), value)
    return kept


def _check_form(event: CloudEvent, asked: RequestSubject) -> None:
    if event.type != request_type(asked.verb):
        raise RequestRejected(
            "InvalidEvent", f"type {event.type[:100]!r}: on this subject it must be {request_type(asked.verb)}"
        )
    if not event.has_json:
        raise RequestRejected("InvalidEvent", f"datacontenttype {event.datacontenttype[:100]!r}: it must be JSON")


def reply_to(attributes: Mapping[str, Any]) -> str:
    """Where the answer goes, empty for nowhere. Raises RequestRejected for what is no inbox: who may not publish on a
    subject must not have us do it."""
    found = attributes.get(REPLY_TO, "")
    if found == "":
        return ""
    if not (
        isinstance(found, str) and found.startswith(INBOX) and is_subject(found) and len(found) <= LONGEST_REPLY_TO
    ):
        raise RequestRejected("InvalidEvent", f"{REPLY_TO} {str(found)[:100]!r}: answers go to subjects below {INBOX}")
    return found


def key_of(asked: RequestSubject, event: CloudEvent) -> str:
    """What a request is known by for a day: nobody but its publisher can take its source and id."""
    return hashlib.sha256(msgspec.json.encode((asked.workspace, asked.user, event.source, event.id))).hexdigest()[:40]


def digest_of(event: CloudEvent) -> str:
    """What two requests have in common that ask for the same, however their JSON is written."""
    content = msgspec.json.encode(msgspec.json.decode(event.data), order="sorted")
    return hashlib.sha256(event.type.encode() + b"\0" + content).hexdigest()[:40]


def _placing(data: bytes, asked: RequestSubject) -> Placing:
    request = _read(data, PlaceRequest)
    _check_speaker(request, asked)
    if request.hold and not _HOLD.fullmatch(request.hold):
        raise RequestRejected("InvalidRequest", "hold: it is not the id of a hold")
    ref, manifest = _placement(request.placement, asked)
    return Placing(ref, manifest, tuple(_object(each, ref, asked) for each in request.objects), request.hold)


def _placement(given: Mapping[str, Any], asked: RequestSubject) -> tuple[PlacementRef, dict[str, Any]]:
    manifest = _manifest(given, asked, "the Placement")
    if (manifest.setdefault("apiVersion", API_VERSION), manifest.setdefault("kind", "Placement")) != (
        API_VERSION,
        "Placement",
    ):
        raise RequestRejected("InvalidRequest", f"the Placement must be of apiVersion {API_VERSION}, kind Placement")
    if unknown := sorted(manifest.keys() - {"apiVersion", "kind", "metadata", "spec"}):
        raise RequestRejected("InvalidRequest", f"the Placement has {_listed(unknown)}, which a request cannot set")
    return _ref(manifest["metadata"], asked), manifest


def _withdrawing(data: bytes, asked: RequestSubject) -> Withdrawing:
    request = _read(data, WithdrawRequest)
    _check_speaker(request, asked)
    return Withdrawing(_ref({"namespace": request.namespace, "name": request.name}, asked))


def _read(data: bytes, kind: type[T]) -> T:
    """The data as this kind of request. A bare Placement stands for itself."""
    try:
        found = msgspec.json.decode(data or b"null")
        if len(data) >= 2 * MOST_VALUES and has_more_values(found, MOST_VALUES):  # each takes two characters at least
            raise RequestRejected("InvalidRequest", f"data has more than {MOST_VALUES} values")
        if isinstance(found, dict) and found.get("kind") == "Placement":
            found = {"placement": found}
        return msgspec.convert(found, kind)
    except msgspec.ValidationError as error:
        raise RequestRejected("InvalidRequest", f"data: {error}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise RequestRejected("InvalidRequest", f"data cannot be read: {error}") from None


def has_more_values(value: Any, most: int) -> bool:
    """Whether a JSON value has more than so many values in it, at any depth, itself among them."""
    waiting, left = [value], most
    while waiting:
        left -= 1
        if left < 0:
            return True
        found = waiting.pop()
        if isinstance(found, dict | list):
            if len(found) > left:
                return True
            waiting += found.values() if isinstance(found, dict) else found
    return False


def _check_speaker(request: PlaceRequest | WithdrawRequest | DecideRequest, asked: RequestSubject) -> None:
    if request.workspace not in (None, asked.workspace):
        raise RequestRejected("NotTheSubjects", f"it names another workspace than its subject, {asked.workspace!r}")
    if request.user not in (None, asked.user):
        raise RequestRejected("NotTheSubjects", f"it names another user than its subject, {asked.user!r}")


def _manifest(given: Mapping[str, Any], asked: RequestSubject, what: str) -> dict[str, Any]:
    """A manifest without what is null, checked for what nobody but the hub and Moorage may say."""
    metadata = given.get("metadata")
    if not isinstance(metadata, Mapping):
        raise RequestRejected("InvalidRequest", f"{what} has no metadata")
    metadata = {name: value for name, value in metadata.items() if value is not None}
    if unknown := sorted(metadata.keys() - _METADATA):
        raise RequestRejected("InvalidRequest", f"{what} has metadata.{_listed(unknown)}, which a request cannot set")
    for field in ("labels", "annotations"):
        _check_marks(metadata.get(field, {}), asked, f"{what} has metadata.{field}")
    return {**{name: value for name, value in given.items() if value is not None}, "metadata": metadata}


def _check_marks(marks: Any, asked: RequestSubject, where: str) -> None:
    if not isinstance(marks, Mapping):
        raise RequestRejected("InvalidRequest", f"{where} that is no mapping")
    if reserved := sorted(name for name in marks if name.startswith(RESERVED_PREFIXES)):
        raise RequestRejected("InvalidRequest", f"{where} {_listed(reserved)}, which Moorage alone sets")
    if any(name in marks and marks[name] != asked.workspace for name in _WORKSPACE_ANNOTATIONS):
        raise RequestRejected("NotTheSubjects", f"{where} of another workspace than its subject, {asked.workspace!r}")


def _ref(metadata: Mapping[str, Any], asked: RequestSubject) -> PlacementRef:
    namespace, name = metadata.get("namespace"), metadata.get("name")
    if not (isinstance(namespace, str) and _NAMESPACE.fullmatch(namespace)):
        raise RequestRejected("InvalidRequest", "the Placement's namespace is missing, or no name of one")
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise RequestRejected("InvalidRequest", "the Placement's name is missing, or not one that Kubernetes takes")
    return PlacementRef(workspace=asked.workspace, namespace=namespace, name=name)


def _object(given: Mapping[str, Any], ref: PlacementRef, asked: RequestSubject) -> dict[str, Any]:
    api_version, kind = given.get("apiVersion"), given.get("kind")
    if not (isinstance(api_version, str) and api_version and isinstance(kind, str) and kind):
        raise RequestRejected("InvalidRequest", "an object has no apiVersion, or no kind")
    what = f"{kind[:64]} of {api_version[:64]}"
    manifest = _manifest(given, asked, what)
    metadata = manifest["metadata"]
    if not (isinstance(name := metadata.get("name"), str) and name):
        raise RequestRejected("InvalidRequest", f"{what} has no name")
    if metadata.setdefault("namespace", ref.namespace) != ref.namespace:
        raise RequestRejected("InvalidRequest", f"{what} {name[:64]} is in another namespace than the Placement")
    if group_of(api_version) in _NOT_WORKLOAD:
        raise RequestRejected("InvalidRequest", f"{what} {name[:64]} is nothing that a request can bring")
    return manifest


def _listed(names: Iterable[str]) -> str:
    return ", ".join(name[:64] for name in names)[:200]
