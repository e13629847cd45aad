"""The writing verbs of the REST API, from requests to the registry and the deleter."""

import time
from functools import lru_cache

from services.sandbox import errors
from services.sandbox.access.users import User
from services.sandbox.errors import Cause, Document
from services.sandbox.objects import patch, reads
from services.sandbox.objects.deletion import Deleter, check_deletable, policy_of
from services.sandbox.objects.registry import Registry, Write
from services.sandbox.state.clusters import Address
from services.sandbox.state.store import Entry, Store
from services.sandbox.wire import media, tables
from services.sandbox.wire.http import Request, Response, answer, parse, parse_object
from shared.kube.times import rfc3339


def now() -> str:
    """RFC 3339 in UTC, to the second, as metadata has it."""
    return _second(int(time.time()))


@lru_cache(maxsize=1)
def _second(since_epoch: int) -> str:
    return rfc3339(since_epoch, "seconds")


def writing(request: Request, user: User, subresource: str) -> Write:
    """The options of a write. Raises ApiError 422."""
    query = request.query
    applies = request.method == "PATCH" and request.media_type == media.APPLY_PATCH
    validation = query.get("fieldValidation") or "Warn"
    agent = request.headers.get("user-agent", "unknown").partition("/")[0]
    manager = query.get("fieldManager") or agent
    wrong = []
    if query.get("dryRun", "All") != "All":
        wrong.append(Cause.unsupported("dryRun", f'["{query["dryRun"][:50]}"]: supported values: "All"'))
    if validation not in ("Strict", "Warn", "Ignore"):
        said = f'"{validation[:50]}": supported values: "", "Ignore", "Strict", "Warn"'
        wrong.append(Cause.unsupported("fieldValidation", said))
    if len(manager) > 128:
        wrong.append(Cause("FieldValueTooLong", "fieldManager", "Too long: may not be more than 128 bytes"))
    if applies and not query.get("fieldManager"):
        wrong.append(Cause.required("fieldManager", "is required for apply patch"))
    if request.flag("force") and not applies:
        wrong.append(Cause("FieldValueForbidden", "force", "Forbidden: may not be specified for non-apply patch"))
    if wrong:
        kind = {"POST": "CreateOptions", "PUT": "UpdateOptions"}.get(request.method, "PatchOptions")
        raise errors.invalid(kind, "meta.k8s.io", "", wrong)
    return Write(
        user=user,
        now=now(),
        manager=manager,
        subresource=subresource,
        dry_run="dryRun" in query,
        validation=validation,
        is_patch=request.method == "PATCH",
        force=request.flag("force"),
    )


def write(registry: Registry, at: Address, request: Request, user: User, subresource: str) -> Response:
    """POST, PUT and PATCH."""
    options = writing(request, user, subresource)
    if subresource == "scale":
        return _scale(registry, at, request, options)
    if request.method == "POST":
        return _stored(at, options, registry.create(at, parse_object(request), options), 201)
    if request.method == "PUT":
        return _stored(at, options, registry.update(at, parse_object(request), options), 200)
    known = registry.exists(at)
    body = parse_object(request) if request.media_type == media.APPLY_PATCH else parse(request)
    entry = registry.patch(at, request.media_type, body, options)
    return _stored(at, options, entry, 200 if known else 201)


def _stored(at: Address, options: Write, entry: Entry, status: int) -> Response:
    response = Response(status, reads.as_version(entry.body, at.api_version))
    if options.warnings:
        quoted = "; ".join(options.warnings)[:1000].replace("\\", "\\\\").replace('"', '\\"')
        response.headers["warning"] = f'299 - "{quoted}"'
    return response


def _scale_of(at: Address, document: Document) -> Document:
    spec_path, status_path, selector_path = at.version.scale or ("", "", "")
    metadata = document["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    selector = tables.find(document, selector_path) if selector_path else []
    status = {"replicas": next(iter(tables.find(document, status_path)), 0)}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: metadata[name] for name in kept if name in metadata},
        "spec": {"replicas": replicas} if (replicas := next(iter(tables.find(document, spec_path)), 0)) else {},
        "status": {**status, "selector": selector[0]} if selector else status,
    }


def read_scale(registry: Registry, at: Address) -> Response:
    return answer(_scale_of(at, registry.current(at).document()))


def _scale(registry: Registry, at: Address, request: Request, options: Write) -> Response:
    """Replace or patch the Scale; what changes of it is the object's number of replicas."""
    document = registry.current(at).document()
    scale = parse(request)
    if request.method == "PATCH":
        scale = patch.patched(request.media_type, _scale_of(at, document), scale, {})
    replicas = (scale.get("spec") or {}).get("replicas", 0) if isinstance(scale, dict) else None
    if not isinstance(replicas, int):
        raise errors.bad_request("spec.replicas must be a number")
    if replicas < 0:
        said = f"Invalid value: {replicas}: must be greater than or equal to 0"
        raise errors.invalid("Scale", "autoscaling", at.name, [Cause("FieldValueInvalid", "spec.replicas", said)])
    *path, last = (at.version.scale or (".spec.replicas",))[0].strip(".").split(".")
    inner = document
    for name in path:
        inner = inner.setdefault(name, {})
    inner[last] = replicas
    if version := scale.get("metadata", {}).get("resourceVersion"):
        document["metadata"]["resourceVersion"] = version
    document["apiVersion"] = at.api_version
    entry = registry.update(at, document, options)
    return answer(_scale_of(at, entry.document()))


def delete(store: Store, deleter: Deleter, at: Address, request: Request) -> Response:
    """One object, or with no name all that the selectors match."""
    options = parse_object(request) if request.body else {}
    options = {**options, **{k: v for k, v in request.query.items() if k in ("propagationPolicy", "dryRun")}}
    policy_of(options)
    if not at.name:
        doomed = reads.select(store, at, reads.matching(at, request))
        for entry in doomed:
            deleter.delete(at.cluster, entry, options, now())
        listed = [entry.document() for entry in doomed]
        kind, version = at.resource.list_name, at.api_version
        return answer({"kind": kind, "apiVersion": version, "metadata": {}, "items": listed})
    check_deletable(at.resource.id, at.name)
    found = store.get(at.key)
    if found is None:
        raise errors.not_found(at.resource.id, at.name)
    entry, gone = deleter.delete(at.cluster, found, options, now())
    if not gone:
        return Response(200, reads.as_version(entry.body, at.api_version))
    group = {"group": at.resource.group} if at.resource.group else {}
    details = {"name": at.name, **group, "kind": at.resource.plural, "uid": entry.uid}
    return answer({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
