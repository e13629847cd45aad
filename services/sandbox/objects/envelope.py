"""What surrounds an object's content: kind, names, and the metadata that the server itself keeps. Pure but for uids."""

import uuid
from collections.abc import Sequence

from services.sandbox import errors
from services.sandbox.access.auth import RBAC_GROUP
from services.sandbox.errors import Cause, Document
from services.sandbox.schemas import names
from services.sandbox.state.clusters import Address, Cluster
from services.sandbox.state.store import Entry

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
        status = {"status": new["status"]} if "status" in new else {} if at.resource.custom else {"status": {}}
        return {**without(old, "status"), "metadata": metadata, **status}
    if at.version.status:
        new = {**without(new, "status"), **({"status": old["status"]} if "status" in old else {})}
    metadata = without(new["metadata"], *SERVER_SET)
    fixed = {name: old["metadata"][name] for name in (*SERVER_SET, "resourceVersion") if name in old["metadata"]}
    return {**new, "metadata": {**metadata, **fixed}}


def fresh(at: Address, now: str) -> Document:
    """The metadata that a new object gets; of the core group's kinds, only Pods count generations."""
    fresh: Document = {"name": at.name, "uid": str(uuid.uuid4()), "creationTimestamp": now}
    counts = at.version.status and (at.resource.group or at.resource.plural == "pods")
    return {**fresh, "generation": 1} if at.resource.custom or counts else fresh


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
    if at.name and not metadata.get("name"):
        said = f"the name of the object ({at.name} based on URL) was undeterminable: name must be provided"
        raise errors.bad_request(said)
    if at.name and metadata["name"] != at.name:
        raise errors.bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL ({at.name})"
        )
    return metadata


def deletion_causes(old: Document, new: Document) -> list[Cause]:
    """A deletion is the server's to begin, and what is being deleted takes no new finalizers."""
    begun, claimed = old.get("deletionTimestamp"), new.get("deletionTimestamp")
    if claimed and claimed != begun:
        message = f'Invalid value: "{claimed}": field is immutable'
        return [Cause("FieldValueInvalid", "metadata.deletionTimestamp", message)]
    added = sorted(set(new.get("finalizers") or ()) - set(old.get("finalizers") or ())) if begun else []
    listed = ", ".join(f'"{each}"' for each in added)
    message = "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers "
    message += f"[]string{{{listed}}}"
    return [Cause("FieldValueForbidden", "metadata.finalizers", message)] if added else []


def check_name(at: Address) -> None:
    """Raise ApiError 422 for a name that an object of this kind cannot have."""
    if not at.name:
        causes = [Cause("FieldValueRequired", "metadata.name", "Required value: name or generateName is required")]
    elif at.resource.group == RBAC_GROUP:
        wrong = [f"may not be '{at.name}'"] if at.name in (".", "..") else []
        wrong += [f"may not contain '{each}'" for each in "/%" if each in at.name]
        causes = list(names.invalid("metadata.name", at.name, wrong))
    else:
        form = names.LABEL if at.resource.id in ("namespaces", "services") else names.SUBDOMAIN
        causes = list(names.invalid("metadata.name", at.name, form.misfits(at.name)))
    if causes:
        raise at.invalid(*causes)
