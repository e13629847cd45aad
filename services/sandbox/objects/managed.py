"""`metadata.managedFields`: between the list that objects carry and the field sets that `apply` computes with."""

from typing import Any

from services.sandbox.errors import Document
from services.sandbox.objects import apply
from services.sandbox.objects.envelope import CLUSTER, without

RESET: list[Document] = [{}]  # by which a client says that nobody shall own anything
_SERVERS = (
    *("name", "namespace", "selfLink", "uid", "resourceVersion"),
    *("generation", "creationTimestamp", "managedFields"),
)


def ownable(document: Document, *, subresource: str, has_status: bool) -> Document:
    """The part of an object that a writer through this (sub)resource can own; the server's own fields are left out."""
    if subresource == "status":
        return {"status": document["status"]} if "status" in document else {}
    part = {name: value for name, value in document.items() if name not in ("apiVersion", "kind", "metadata")}
    if has_status:
        part.pop("status", None)
    metadata = without(document.get("metadata", {}), *_SERVERS)
    if CLUSTER in (metadata.get("annotations") or ()):
        metadata["annotations"] = without(metadata["annotations"], CLUSTER)
        metadata = metadata if metadata["annotations"] else without(metadata, "annotations")
    return {"metadata": metadata, **part} if metadata else part


def with_part(document: Document, part: Document, instead_of: Document) -> Document:
    """The document with one ownable part in the place of another."""
    metadata = without(document["metadata"], *instead_of.get("metadata", ()))
    return {**without(document, *instead_of), **part, "metadata": {**metadata, **(part.get("metadata") or {})}}


def zero(schema: Document) -> Document:
    """What objects of a built-in kind are born with, their types being structs of Go; nobody owns that."""
    fields, required = schema.get("properties", {}), schema.get("required", ())
    structs = {name for name, field in fields.items() if field.get("type") == "object" and "properties" in field}
    return {
        name: zero(field) if name in structs else None
        for name, field in fields.items()
        if name in {*structs, *required}
    }


def owners(document: Document) -> dict[apply.Owner, apply.FieldSet]:
    """Who owns what, as the object says."""
    return {_owner(entry): apply.from_fields_v1(entry["fieldsV1"]) for entry in _entries(document)}


def readable(entries: Any) -> bool:
    """True if a client's entries can be taken over."""
    try:
        return all(entry["fieldsType"] == "FieldsV1" and _owner(entry) for entry in entries if entry)
    except (KeyError, TypeError):
        return False


def record(document: Document, by_owner: apply.Owners, writer: apply.Owner, now: str, *, changed: bool = True) -> None:
    """Write the owners into the object. The writer's entry gets the time if it changed anything."""
    times = {identity(_owner(entry)): entry.get("time") for entry in _entries(document)}
    entries = []
    for owner, fields in by_owner.items():
        before = times.get(identity(owner), None if owner == writer else now)
        time = now if changed and owner == writer else before
        entries.append(
            {
                "manager": owner.manager,
                "operation": owner.operation,
                "apiVersion": owner.api_version,
                **({"time": time} if time else {}),
                "fieldsType": "FieldsV1",
                "fieldsV1": apply.to_fields_v1(fields),
                **({"subresource": owner.subresource} if owner.subresource else {}),
            }
        )
    document["metadata"]["managedFields"] = sorted(entries, key=_rank)
    if not entries:
        del document["metadata"]["managedFields"]


def identity(owner: apply.Owner) -> apply.Owner:
    """An applier is the same one in whatever version it applies."""
    return owner._replace(api_version="") if owner.operation == "Apply" else owner


def _rank(entry: Document) -> tuple[str, ...]:
    return tuple(entry.get(name, "") for name in ("operation", "time", "manager", "apiVersion", "subresource"))


def _owner(entry: Document) -> apply.Owner:
    return apply.Owner(entry["manager"], entry["operation"], entry["apiVersion"], entry.get("subresource", ""))


def _entries(document: Document) -> list[Document]:
    return [entry for entry in document["metadata"].get("managedFields") or () if "fieldsV1" in entry]
