"""Create, update, patch and apply, as an API server does them: envelope, schema, versions, generation, owners."""

import re
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from services.sandbox import apply, errors, managed, patch
from services.sandbox.auth import RBAC_GROUP, User
from services.sandbox.commits import Address, Commits
from services.sandbox.deletion import Deleter
from services.sandbox.errors import Cause, Document
from services.sandbox.store import Entry, Key

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_GENERATED = "bcdfghjklmnpqrstvwxz2456789"  # no vowels, as in Kubernetes, so that no words come about
_SERVER_SET = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "name")


@dataclass(slots=True)
class Write:
    """Who writes, how and when. `now` is RFC 3339; `warnings` collects what the client should be told."""

    user: User
    now: str
    manager: str = "unknown"
    subresource: str = ""
    dry_run: bool = False
    validation: str = "Warn"
    force: bool = False
    warnings: list[str] = field(default_factory=list)


Admission = Callable[[Address, Document, Document | None, Write], None]


class Registry:
    """The writing half of the API. `admit` may change or refuse any object before it is stored."""

    def __init__(self, commits: Commits, deleter: Deleter, admit: Admission) -> None:
        self._commits = commits
        self._store = commits.store
        self._deleter = deleter
        self._admit = admit

    def current(self, at: Address) -> Entry:
        """The object as it is. Raises ApiError 404."""
        entry = self._store.get(at.key)
        if entry is None:
            raise errors.not_found(at.resource.id, at.name)
        return entry

    def exists(self, at: Address) -> bool:
        return self._store.get(at.key) is not None

    def create(self, at: Address, document: Document, write: Write) -> Entry:
        """Store a new object. Raises ApiError: 404 no such namespace, 409 exists, 422 invalid."""
        metadata = _envelope(at, document)
        if metadata.get("resourceVersion"):
            raise errors.bad_request("resourceVersion should not be set on objects to be created")
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = self._generate_name(at, metadata["generateName"])
        at = at._replace(name=metadata.get("name") or "")
        _check_name(at)
        self._check_namespace(at)
        if self._store.get(at.key):
            raise errors.already_exists(at.resource.id, at.name)
        for name in (*_SERVER_SET, "managedFields", "selfLink"):
            metadata.pop(name, None)
        metadata |= _fresh(at, write.now)
        if at.version.status:
            document.pop("status", None)
        self._conform(at, document, write)
        self._admit(at, document, None, write)
        self._own(at, {"metadata": {}}, document, write)
        return self._put(at, document, write)

    def _generate_name(self, at: Address, prefix: str) -> str:
        while True:
            name = prefix[:248] + "".join(secrets.choice(_GENERATED) for _ in range(5))
            if not self.exists(at._replace(name=name)):
                return name

    def update(self, at: Address, document: Document, write: Write) -> Entry:
        """Replace the object, or its status. Raises ApiError: 404, 409 on a stale resourceVersion, 422 invalid."""
        entry = self.current(at)
        metadata = _envelope(at, document)
        version = metadata.get("resourceVersion")
        if not version and at.resource.custom:
            cause = Cause(
                "FieldValueInvalid", "metadata.resourceVersion", "Invalid value: 0: must be specified for an update"
            )
            raise errors.invalid(at.resource.kind, at.resource.group, at.name, [cause])
        return self._replace(at, entry, document, write)

    def patch(self, at: Address, kind: str, body: Document, write: Write) -> Entry:
        """Change the object by a patch of one of the media types of `patch`."""
        if kind == patch.STRATEGIC and at.resource.custom:
            raise errors.unsupported_media_type(kind, (patch.JSON, patch.MERGE, patch.APPLY))
        if kind == patch.APPLY:
            return self._apply(at, body, write)
        entry = self.current(at)
        old = self._read(at, entry)
        new = patch.patched(kind, old, body, at.version.schema.structure)
        if not isinstance(new, dict):
            raise errors.bad_request("the patch does not leave an object")
        _envelope(at, new)
        return self._replace(at, entry, new, write)

    def _apply(self, at: Address, config: Document, write: Write) -> Entry:
        entry = self._store.get(at.key)
        if entry is None and write.subresource:
            raise errors.not_found(at.resource.id, at.name)
        metadata = _envelope(at, config)
        if metadata.get("managedFields"):
            raise errors.bad_request("metadata.managedFields must be nil")
        live: Document = self._read(at, entry) if entry else {"metadata": {}}
        owners = managed.owners(live)
        owner = apply.Owner(write.manager, "Apply", config["apiVersion"], write.subresource)
        wanted = managed.ownable(config, subresource=write.subresource, has_status=at.version.status)
        structure = at.version.schema.structure
        try:
            applied = apply.apply(live, wanted, owner, owners, structure, force=write.force)
        except apply.ConflictsError as error:
            raise _conflict(error) from error
        document = {"apiVersion": config["apiVersion"], "kind": config["kind"], **applied.document}
        if entry is None:
            document["metadata"] = {**metadata, **document["metadata"]}
            return self._create_applied(at, document, applied.owners, write)
        managed.record(document, applied.owners, write.now)
        if version := metadata.get("resourceVersion"):
            document["metadata"]["resourceVersion"] = version
        return self._replace(at, entry, document, write, owned=True)

    def _create_applied(
        self, at: Address, document: Document, owners: dict[apply.Owner, apply.FieldSet], write: Write
    ) -> Entry:
        self._check_namespace(at)
        _check_name(at)
        metadata = document["metadata"]
        metadata |= _fresh(at, write.now)
        metadata.pop("resourceVersion", None)
        if at.version.status:
            document.pop("status", None)
        self._conform(at, document, write)
        self._admit(at, document, None, write)
        managed.record(document, owners, write.now)
        return self._put(at, document, write)

    def _replace(self, at: Address, entry: Entry, new: Document, write: Write, *, owned: bool = False) -> Entry:
        old = self._read(at, entry)
        _check_preconditions(at, entry, new["metadata"])
        new = _keep(at, old, new, write.subresource)
        metadata, old_metadata = new["metadata"], old["metadata"]
        self._conform(at, new, write)
        self._admit(at, new, old, write)
        if not owned:
            if metadata.get("managedFields") is None:
                metadata["managedFields"] = old_metadata.get("managedFields", [])
            self._own(at, old, new, write)
        if new == old:
            return entry
        if "generation" in metadata and _spec(new, at) != _spec(old, at):
            metadata["generation"] += 1
        stored = self._put(at, new, write)
        finished = "deletionTimestamp" in metadata and not metadata.get("finalizers")
        if finished and not write.dry_run and at.resource.id != "namespaces":
            return self._deleter.remove(at.cluster, at.key, write.now)
        return stored

    def _read(self, at: Address, entry: Entry) -> Document:
        document: Document = entry.document()
        document["apiVersion"] = at.resource.api_version(at.version.name)
        return document

    def _put(self, at: Address, document: Document, write: Write) -> Entry:
        head = {"apiVersion": at.resource.api_version(at.resource.storage), "kind": at.resource.kind}
        stored = {**head, "metadata": document["metadata"], **_without(document, "apiVersion", "kind", "metadata")}
        if write.dry_run:
            return self._store.entry(at.key, stored, self._store.revision)
        return self._commits.put(at.cluster, at.key, stored)

    def _own(self, at: Address, old: Document, new: Document, write: Write) -> None:
        before = managed.ownable(old, subresource=write.subresource, has_status=at.version.status)
        after = managed.ownable(new, subresource=write.subresource, has_status=at.version.status)
        if before != after:
            owner = apply.Owner(write.manager, "Update", at.resource.api_version(at.version.name), write.subresource)
            owners = apply.update(before, after, owner, managed.owners(new), at.version.schema.structure)
            managed.record(new, owners, write.now)

    def _conform(self, at: Address, document: Document, write: Write) -> None:
        schema = at.version.schema
        dropped = schema.prune(document)
        if dropped and write.validation == "Strict":
            unknown = ", ".join(f'unknown field "{path}"' for path in dropped)
            raise errors.bad_request(f"strict decoding error: {unknown}")
        if write.validation == "Warn":
            write.warnings += [f'unknown field "{path}"' for path in dropped]
        schema.default(document)
        if causes := schema.validate(document):
            raise errors.invalid(at.resource.kind, at.resource.group, at.name, causes)

    def _check_namespace(self, at: Address) -> None:
        if not at.resource.namespaced:
            return
        if not self._store.get(Key(at.cluster.name, "namespaces", "", at.namespace)):
            raise errors.not_found("namespaces", at.namespace)
        if at.namespace in at.cluster.terminating:
            message = (
                f'{at.resource.id} "{at.name}" is forbidden: unable to create new content in namespace '
                f"{at.namespace} because it is being terminated"
            )
            raise errors.forbidden(message, at.resource.id, at.name)


def _without(document: Document, *names: str) -> Document:
    return {name: value for name, value in document.items() if name not in names}


def _spec(document: Document, at: Address) -> Document:
    """What counts for `metadata.generation`."""
    return _without(document, "metadata", *(("status",) if at.version.status else ()))


def _check_preconditions(at: Address, entry: Entry, metadata: Document) -> None:
    if metadata.get("resourceVersion") not in (None, "", str(entry.version)):
        raise errors.conflict(at.resource.id, at.name)
    if metadata.get("uid") not in (None, "", entry.uid):
        why = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {entry.uid}"
        raise errors.conflict(at.resource.id, at.name, why)


def _keep(at: Address, old: Document, new: Document, subresource: str) -> Document:
    """The new object with what this writer cannot change taken from the old one."""
    if subresource == "status":
        fields = new["metadata"].get("managedFields")
        metadata = {**old["metadata"], **({"managedFields": fields} if fields is not None else {})}
        return {**old, "metadata": metadata, "status": new.get("status", {})}
    if at.version.status:
        new = {**_without(new, "status"), **({"status": old["status"]} if "status" in old else {})}
    metadata = _without(new["metadata"], *_SERVER_SET)
    fixed = {name: old["metadata"][name] for name in (*_SERVER_SET, "resourceVersion") if name in old["metadata"]}
    return {**new, "metadata": {**metadata, **fixed}}


def _fresh(at: Address, now: str) -> Document:
    """The metadata that a new object gets; generations are counted where there is a spec to count."""
    fresh: Document = {"name": at.name, "uid": str(uuid.uuid4()), "creationTimestamp": now}
    return {**fresh, "generation": 1} if at.resource.custom or at.version.status else fresh


def _envelope(at: Address, document: Document) -> Document:
    """Check that the object is what the URL says, and return its metadata."""
    wanted = (at.resource.api_version(at.version.name), at.resource.kind)
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
    for name in ("labels", "annotations", "finalizers", "ownerReferences"):
        if name in metadata and not metadata[name]:
            del metadata[name]  # null and empty alike
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


def _check_name(at: Address) -> None:
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


def _conflict(error: apply.ConflictsError) -> errors.ApiError:
    causes = []
    for owner, path in error.conflicts:
        using = f" using {owner.api_version}" if owner.operation == "Update" else ""
        message = f'conflict with "{owner.manager}"{using}'
        causes.append(Cause("FieldManagerConflict", apply.path_text(path), message))
    return errors.apply_conflict(causes)
