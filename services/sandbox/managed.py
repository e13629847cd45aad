"""`metadata.managedFields`: between the list that objects carry and the field sets that `apply` computes with."""

from services.sandbox import apply
from services.sandbox.envelope import CLUSTER, without
from services.sandbox.errors import Document

_OWNABLE_METADATA = ("labels", "annotations", "finalizers", "ownerReferences")


def ownable(document: Document, *, subresource: str, has_status: bool) -> Document:
    """The part of an object that a writer through this (sub)resource can own; the server's own fields are left out."""
    if subresource == "status":
        return {"status": document["status"]} if "status" in document else {}
    part = {name: value for name, value in document.items() if name not in ("apiVersion", "kind", "metadata")}
    if has_status:
        part.pop("status", None)
    metadata = {name: value for name, value in document["metadata"].items() if name in _OWNABLE_METADATA}
    if CLUSTER in metadata.get("annotations", ()):
        metadata["annotations"] = without(metadata["annotations"], CLUSTER)
        metadata = metadata if metadata["annotations"] else without(metadata, "annotations")
    return {"metadata": metadata, **part} if metadata else part


def owners(document: Document) -> dict[apply.Owner, apply.FieldSet]:
    """Who owns what, as the object says."""
    return {_owner(entry): apply.from_fields_v1(entry["fieldsV1"]) for entry in _entries(document)}


def record(document: Document, by_owner: apply.Owners, now: str) -> None:
    """Write the owners into the object; the time changes only where the fields did."""
    known = {_owner(entry): entry for entry in _entries(document)}
    entries = []
    for owner, fields in sorted(by_owner.items()):
        fields_v1 = apply.to_fields_v1(fields)
        entry = known.get(owner)
        if entry is None or entry["fieldsV1"] != fields_v1:
            entry = {
                "manager": owner.manager,
                "operation": owner.operation,
                "apiVersion": owner.api_version,
                "time": now,
                "fieldsType": "FieldsV1",
                "fieldsV1": fields_v1,
                **({"subresource": owner.subresource} if owner.subresource else {}),
            }
        entries.append(entry)
    document["metadata"]["managedFields"] = entries


def _owner(entry: Document) -> apply.Owner:
    return apply.Owner(entry["manager"], entry["operation"], entry["apiVersion"], entry.get("subresource", ""))


def _entries(document: Document) -> list[Document]:
    return [entry for entry in document["metadata"].get("managedFields") or () if "fieldsV1" in entry]
