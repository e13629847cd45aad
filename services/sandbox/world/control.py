"""The sandbox's own API under `/sandbox`, for administrators of the hub: clusters, and faults on demand."""

from fnmatch import fnmatchcase

import msgspec

from services.sandbox import errors
from services.sandbox.access.users import ADMINS, User
from services.sandbox.errors import Document
from services.sandbox.plane import ControlPlane
from services.sandbox.state.clusters import TARGET_PREFIX
from services.sandbox.state.store import Key
from services.sandbox.wire.faults import Fault
from services.sandbox.wire.http import Request, Response, answer, parse_object
from services.sandbox.world import targets


def route(plane: ControlPlane, user: User, request: Request, parts: tuple[str, ...]) -> Response:
    """`GET /sandbox`; `POST /sandbox/clusters/<name>` with the fields of `targets.Target`, and below it
    `/availability` with `{"available": bool}`; `POST /sandbox/forget` makes old versions
    expire; `POST /sandbox/objects` puts objects as they are; `GET /sandbox/requests` counts requests by form;
    `/sandbox/faults`, see below. Raises ApiError."""
    if ADMINS not in user.groups:
        raise errors.forbidden(f'forbidden: User "{user.name}" is no administrator of this sandbox')
    match request.method, parts:
        case _, ("faults", *rest):
            return _faults(plane, request, rest)
        case "GET", ():
            url = f"{plane.url}/clusters"
            clusters = [
                {"name": c.name, "url": f"{url}/{c.name}", "target": c.is_target, "available": c.available}
                for c in plane.clusters
            ]
            state = {"revision": str(plane.store.revision), "watches": plane.store.watches}
            return answer({"url": plane.url, **state, "clusters": clusters})
        case "GET", ("requests",):
            return answer({"items": [{**form._asdict(), "count": count} for form, count in plane.tally]})
        case "POST", ("forget",):
            plane.store.forget()
            return answer({"revision": str(plane.store.revision)})
        case "POST", ("objects",):
            return answer({"versions": _put(plane, parse_object(request))}, 201)
        case "POST", ("clusters", name):
            body = parse_object(request) if request.body else {}
            try:
                token = targets.add(plane, msgspec.convert({**body, "name": name}, targets.Target))
            except ValueError as error:  # of msgspec, or a quantity
                raise errors.bad_request(str(error)) from error
            full = f"{TARGET_PREFIX}{name}"
            return answer({"name": full, "url": f"{plane.url}/clusters/{full}", "token": token}, 201)
        case "POST", ("clusters", name, "availability"):
            available = parse_object(request).get("available")
            if not isinstance(available, bool):
                raise errors.bad_request("available must be true or false")
            plane.set_available(name, available)
            return answer({"name": name, "available": available})
    raise errors.no_such_path()


class _Stored(msgspec.Struct):
    cluster: str
    object: Document


class _Objects(msgspec.Struct):
    items: list[_Stored]


def _put(plane: ControlPlane, body: Document) -> list[str]:
    """Put objects where they say that they are, as a backup does: with their ids, statuses and managers, past defaults
    and admission; their versions. Raises ApiError for what is no object of a cluster, before any is put."""
    try:
        items = msgspec.convert(body, _Objects).items
        found = [(_key(plane, each), each.object) for each in items]
    except (msgspec.ValidationError, KeyError, TypeError) as error:
        raise errors.bad_request(f"this is no object of a cluster: {error}") from error
    return [str(plane.store.put(key, document).version) for key, document in found]


def _key(plane: ControlPlane, stored: _Stored) -> Key:
    cluster, metadata = plane.clusters.find(stored.cluster), stored.object["metadata"]
    if not isinstance(metadata["uid"], str):
        raise TypeError("its uid is no text")
    if cluster is None:
        raise errors.not_found("clusters", stored.cluster)
    resource = cluster.by_kind(stored.object["apiVersion"], stored.object["kind"])
    if resource is None:
        raise errors.no_such_path()
    return Key(cluster.name, resource.id, metadata.get("namespace", ""), metadata["name"])


def _faults(plane: ControlPlane, request: Request, rest: list[str]) -> Response:
    """GET, POST and DELETE on all, GET and DELETE on `/<id>`; a body has the fields of `faults.Fault`."""
    known = plane.faults.listed()
    if rest and (len(rest) > 1 or rest[0] not in known):
        raise errors.not_found("faults", "/".join(rest))
    match request.method, rest:
        case "GET", []:
            return answer({"items": [_shown(each, *found) for each, found in known.items()]})
        case "GET", [id]:
            return answer(_shown(id, *known[id]))
        case "POST", []:
            fault = _fault(plane, request)
            return answer(_shown(plane.faults.add(fault), fault), 201)
        case "DELETE", []:
            plane.faults.clear()
            return answer({"items": []})
        case "DELETE", [id]:
            plane.faults.remove(id)
            return answer(_shown(id, *known[id]))
    raise errors.method_not_allowed()


def _fault(plane: ControlPlane, request: Request) -> Fault:
    try:
        fault = msgspec.convert(parse_object(request), Fault)
    except msgspec.ValidationError as error:
        raise errors.bad_request(str(error)) from error
    if fault.kind == "unavailable":  # who watches an unavailable cluster loses the connection
        for cluster in plane.clusters:
            if fnmatchcase(cluster.name, fault.cluster):
                plane.store.close_watches(cluster.name)
    return fault


def _shown(id: str, fault: Fault, hits: int = 0) -> Document:
    return {"id": id, "hits": hits, **msgspec.structs.asdict(fault)}
