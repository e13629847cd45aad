"""What surrounds an object's content: kind, names, and the metadata that the server itself keeps. Pure but for uids."""

import re
import uuid
from collections.abc import Sequence

from services.sandbox import errors
from services.sandbox.auth import RBAC_GROUP
from services.sandbox.clusters import Address, Cluster
from services.sandbox.errors import Cause, Document
from services.sandbox.store import Entry

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"(?=.{1,63}$)[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
CLUSTER = "kcp.io/cluster"
SERVER_SET = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "name")


def without(document: Document, *names: str) -> Document:
    """A copy that lacks these fields."""
    return {name: value for name, value in document.items() if name not in names}


def specification(document: Document, at: Address) -> Document:
    """What counts for `metadata.generation`."""
    return without(document, "metadata", *(("status",) if at.version.status else ()))


def check_preconditions(at: Address, entry: Entry, metadata: Document) -> None:
    """Raise ApiError 409 where the writer saw another version, or another object of that name."""
    if metadata.get("resourceVersion") not in (None, "", str(entry.version)):
        raise at.conflict()
    if metadata.get("uid") not in (None, "", entry.uid):
        why = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {entry.uid}"
        raise at.conflict(why)


def keep(at: Address, old: Document, new: Document, subresource: str) -> Document:
    """The new object with what this writer cannot change taken from the old one."""
    if subresource == "status":
        fields = new["metadata"].get("managedFields")
        metadata = {**old["metadata"], **({"managedFields": fields} if fields is not None else {})}
        return {**old, "metadata": metadata, "status": new.get("status", {})}
    if at.version.status:
        new = {**without(new, "status"), **({"status": old["status"]} if "status" in old else {})}
    metadata = without(new["metadata"], *SERVER_SET)
    fixed = {name: old["metadata"][name] for name in (*SERVER_SET, "resourceVersion") if name in old["metadata"]}
    return {**new, "metadata": {**metadata, **fixed}}


def fresh(at: Address, now: str) -> Document:
    """The metadata that a new object gets; generations are counted where there is a spec to count."""
    fresh: Document = {"name": at.name, "uid": str(uuid.uuid4()), "creationTimestamp": now}
    return {**fresh, "generation": 1} if at.resource.custom or at.version.status else fresh


def tidy(cluster: Cluster, metadata: Document) -> None:
    """Drop what is empty, and say which logical cluster the object is in, as kcp does of every object."""
    for name, empty in (("labels", {}), ("annotations", {}), ("finalizers", []), ("ownerReferences", [])):
        if name in metadata and metadata[name] in (None, empty):
            del metadata[name]
    if not cluster.is_target:
        metadata["annotations"] = {**metadata.get("annotations", {}), CLUSTER: cluster.id}


def born(at: Address, now: str, **content: Document) -> Document:
    """An object that the control plane makes by itself."""
    metadata = fresh(at, now)
    tidy(at.cluster, metadata)
    return {"apiVersion": at.api_version, "kind": at.resource.kind, "metadata": metadata, **content}


def dated(document: Document, now: str, conditions: Sequence[Document]) -> list[Document]:
    """Conditions with the time since when each has its status, which may be before `now`."""
    old = {(found["type"], found["status"]): found for found in document.get("status", {}).get("conditions") or ()}
    times = (old.get((each["type"], each["status"]), {}).get("lastTransitionTime", now) for each in conditions)
    return [{**each, "lastTransitionTime": time} for each, time in zip(conditions, times, strict=True)]


def check(at: Address, document: Document) -> Document:
    """Check that the object is what the URL says, and return its metadata."""
    wanted = (at.api_version, at.resource.kind)
    if (document.get("apiVersion", wanted[0]), document.get("kind", wanted[1])) != wanted:
        raise errors.bad_request(
            f"the API version or kind in the data ({document.get('apiVersion')}, {document.get('kind')}) "
            f"does not match the expected ({wanted[0]}, {wanted[1]})"
        )
    document["apiVersion"], document["kind"] = wanted
    metadata = document.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise errors.bad_request("metadata must be an object")
    for name in ("name", "generateName", "namespace", "uid", "resourceVersion"):
        if not isinstance(metadata.get(name) or "", str):
            raise errors.bad_request(f"metadata.{name} must be a string")
    if at.resource.namespaced:
        if metadata.setdefault("namespace", at.namespace) != at.namespace:
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
    else:
        metadata.pop("namespace", None)
    if at.name and metadata.setdefault("name", at.name) != at.name:
        raise errors.bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL ({at.name})"
        )
    return metadata


def metadata_causes(metadata: Document) -> list[Cause]:
    """Labels, annotations and finalizers whose names or values no object can have."""
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    if not isinstance(labels, dict) or not isinstance(annotations, dict):
        return []  # the schema says so
    wrong = [("metadata.labels", name) for name in labels if not _qualified(name)]
    wrong += [("metadata.labels", value) for value in labels.values() if value and not _LABEL.fullmatch(str(value))]
    wrong += [("metadata.annotations", name) for name in annotations if not _qualified(name)]
    finalizers = metadata.get("finalizers") or ()
    wrong += [("metadata.finalizers", name) for name in finalizers if not _qualified(str(name))]
    said = "a valid value must consist of alphanumeric characters, '-', '_' or '.', a name may have a prefix"
    return [Cause.invalid(field, f'"{str(bad)[:100]}": {said}') for field, bad in wrong]


def deletion_causes(old: Document, new: Document) -> list[Cause]:
    """A deletion is the server's to begin, and what is being deleted takes no new finalizers."""
    begun, claimed = old.get("deletionTimestamp"), new.get("deletionTimestamp")
    if claimed and claimed != begun:
        message = f'Invalid value: "{claimed}": field is immutable'
        return [Cause("FieldValueInvalid", "metadata.deletionTimestamp", message)]
    added = sorted(set(new.get("finalizers") or ()) - set(old.get("finalizers") or ())) if begun else []
    message = f"Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers {added}"
    return [Cause("FieldValueForbidden", "metadata.finalizers", message)] if added else []


def _qualified(name: str) -> bool:
    """`[prefix/]name`"""
    prefix, slash, rest = name.rpartition("/")
    return bool(_LABEL.fullmatch(rest)) and (not slash or bool(len(prefix) <= 253 and _SUBDOMAIN.fullmatch(prefix)))


def check_name(at: Address) -> None:
    """Raise ApiError 422 for a name that an object of this kind cannot have."""
    name = at.name
    if not name:
        message, reason = "Required value: name or generateName is required", "FieldValueRequired"
    elif at.resource.group == RBAC_GROUP:
        if name not in (".", "..") and "/" not in name and "%" not in name:
            return
        message, reason = f'Invalid value: "{name[:253]}": must be a path segment', "FieldValueInvalid"
    elif _SUBDOMAIN.fullmatch(name) and len(name) <= (63 if at.resource.id == "namespaces" else 253):
        return
    else:
        message, reason = f'Invalid value: "{name[:253]}": must be a lowercase RFC 1123 subdomain', "FieldValueInvalid"
    raise errors.invalid(at.resource.kind, at.resource.group, name[:253], [Cause(reason, "metadata.name", message)])
