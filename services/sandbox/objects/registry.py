"""Create, update, patch and apply, as an API server does them: envelope, schema, versions, generation, owners."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from services.sandbox import errors
from services.sandbox.access.users import User
from services.sandbox.errors import Cause, Document
from services.sandbox.objects import apply, envelope, managed, patch
from services.sandbox.objects.deletion import Deleter
from services.sandbox.schemas import names
from services.sandbox.schemas.checks import CHECKS
from services.sandbox.schemas.schema import Nulls
from services.sandbox.state.clusters import Address, built_in
from services.sandbox.state.store import Entry, Key, Store
from services.sandbox.wire import media

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_BEFORE_APPLY = "before-first-apply"  # owns what nobody owned before somebody applied
_GENERATED = "bcdfghjklmnpqrstvwxz2456789"  # no vowels, as in Kubernetes, so that no words come about


@dataclass(slots=True)
class Write:
    """Who writes, how and when. `now` is RFC 3339; `warnings` collects what the client should be told."""

    user: User
    now: str
    manager: str = "unknown"
    subresource: str = ""
    dry_run: bool = False
    validation: str = "Warn"
    is_patch: bool = False
    force: bool = False
    warnings: list[str] = field(default_factory=list)


Admission = Callable[[Address, Document, Document | None, Write], None]


class Registry:
    """The writing half of the API. `admit` may change or refuse any object before it is stored."""

    def __init__(self, store: Store, deleter: Deleter, admit: Admission) -> None:
        self._store = store
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
        """Store a new object. Raises ApiError: 403 no more of its kind, 404 no such namespace, 409 exists, 422."""
        metadata = envelope.check(at, document)
        if metadata.get("resourceVersion"):
            raise errors.bad_request("resourceVersion should not be set on objects to be created")
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = self._generate_name(at, metadata["generateName"])
        metadata.pop("managedFields", None)
        return self._insert(at._replace(name=metadata.get("name") or ""), document, write)

    def _insert(self, at: Address, document: Document, write: Write, *, applied: bool = False) -> Entry:
        """Store an object that is not there yet; it says whose it is if it was applied."""
        envelope.check_name(at)
        if at.resource.terminating:
            raise at.forbidden("create not allowed while custom resource definition is terminating")
        self._check_namespace(at)
        metadata = document["metadata"]
        for name in (*envelope.SERVER_SET, "resourceVersion", "selfLink"):
            metadata.pop(name, None)
        metadata |= envelope.fresh(at, write.now)
        if at.version.status:
            document.pop("status", None)
        self._conform(at, document, write, applied=applied)
        self._admit(at, document, None, write)
        if existing := self._store.get(at.key):
            dying = "deletionTimestamp" in existing.document()["metadata"]
            raise errors.already_exists(at.resource.id, at.name, dying=dying)
        if not applied:
            self._own(at, None, document, write)
        return self._put(at, document, write)

    def _generate_name(self, at: Address, prefix: str) -> str:
        while True:
            name = prefix[:248] + "".join(secrets.choice(_GENERATED) for _ in range(5))
            if not self.exists(at._replace(name=name)):
                return name

    def update(self, at: Address, document: Document, write: Write) -> Entry:
        """Replace the object, or its status. Raises ApiError: 404, 409 on a stale resourceVersion, 422 invalid."""
        metadata = envelope.check(at, document)
        entry = self.current(at)
        if not metadata.get("resourceVersion") and at.resource.custom:
            said = "Invalid value: 0: must be specified for an update"
            cause = Cause("FieldValueInvalid", "metadata.resourceVersion", said)
            raise errors.invalid(at.resource.plural, at.resource.group, at.name, [cause])
        return self._replace(at, entry, document, write)

    def patch(self, at: Address, kind: str, body: Document, write: Write) -> Entry:
        """Change the object by a patch of one of the media types of `patch`.

        Raises ApiError 415 for a strategic merge patch of a kind that only its definition describes. A kind of
        Kubernetes takes it also where a definition serves it, as in kcp: that is what kubectl sends.
        """
        known = built_in(at.resource) if at.resource.custom else at.version
        if kind == media.STRATEGIC_PATCH and known is None:
            raise errors.unsupported_media_type(kind, (media.JSON_PATCH, media.MERGE_PATCH, media.APPLY_PATCH))
        if kind == media.APPLY_PATCH:
            return self._apply(at, body, write)
        entry = self.current(at)
        old = self._read(at, entry)
        new = patch.patched(kind, old, body, (known or at.version).schema.structure)
        if not isinstance(new, dict):
            raise errors.bad_request("the patch does not leave an object")
        envelope.check(at, new)
        return self._replace(at, entry, new, write)

    def _apply(self, at: Address, config: Document, write: Write) -> Entry:
        entry = self._store.get(at.key)
        if entry is None and write.subresource:
            raise errors.not_found(at.resource.id, at.name)
        metadata = _check_applied(at, config, known=entry is not None)
        if entry is not None and metadata.get("uid") not in (None, "", entry.uid):
            said = f'Invalid value: "{metadata["uid"]}": field is immutable'
            raise at.invalid(Cause("FieldValueInvalid", "metadata.uid", said))
        structure = at.version.schema.structure
        live = self._read(at, entry) if entry else {**config, "metadata": metadata}
        owners = managed.owners(live)
        owner = apply.Owner(write.manager, "Apply", config["apiVersion"], write.subresource)
        for known in list(owners):
            if managed.identity(known) == managed.identity(owner):
                owners[owner] = owners.pop(known)
        before = self._part(at, live, write) if entry else {}
        if entry and not owners:
            first = owner._replace(manager=_BEFORE_APPLY, operation="Update")
            owners = apply.update({}, before, first, {}, structure)
        wanted = self._part(at, config, write)
        try:
            applied = apply.apply(before, wanted, owner, owners, structure, force=write.force)
        except apply.ConflictsError as error:
            if not _moves_from_client_side(live, error, write, structure):
                raise _conflict(error) from error
            applied = apply.apply(before, wanted, owner, owners, structure, force=True)
        document = managed.with_part(live, applied.document, before)
        unchanged = applied.document == before and apply.merge(live, config, structure) == live
        managed.record(document, applied.owners, owner, write.now, changed=not unchanged)
        if entry is None:
            return self._insert(at, document, write, applied=True)
        if version := metadata.get("resourceVersion"):
            document["metadata"]["resourceVersion"] = version
        return self._replace(at, entry, document, write, owned=True)

    def _replace(self, at: Address, entry: Entry, new: Document, write: Write, *, owned: bool = False) -> Entry:
        old = self._read(at, entry)
        if causes := envelope.deletion_causes(old["metadata"], new["metadata"]):
            raise at.invalid(*causes)
        envelope.check_preconditions(at, entry, new["metadata"])
        new = envelope.keep(at, old, new, write.subresource)
        metadata, old_metadata = new["metadata"], old["metadata"]
        self._conform(at, new, write, old, applied=owned)
        self._admit(at, new, old, write)
        if not owned:
            given = metadata.pop("managedFields", None)
            if given is None or write.subresource or not managed.readable(given):
                given = old_metadata.get("managedFields")
            if given and given != managed.RESET:
                metadata["managedFields"] = given
            self._own(at, old, new, write)
        if new == old:
            return entry
        if "generation" in metadata and envelope.specification(new, at) != envelope.specification(old, at):
            metadata["generation"] += 1
        finished = "deletionTimestamp" in metadata and not metadata.get("finalizers")
        if finished and not write.dry_run and at.resource.id != "namespaces":
            return self._deleter.remove(at.cluster, at.key, write.now, _stored(at, new))
        return self._put(at, new, write)

    def _read(self, at: Address, entry: Entry) -> Document:
        document: Document = entry.document()
        document["apiVersion"] = at.api_version
        return document

    def _put(self, at: Address, document: Document, write: Write) -> Entry:
        stored = _stored(at, document)
        if write.dry_run:
            return self._store.entry(at.key, stored, self._store.revision)
        previous = self._store.get(at.key)
        entry = self._store.put(at.key, stored)
        if entry.owners and entry.owners != (previous.owners if previous else ()):
            self._deleter.reconsider(at.cluster, entry, write.now)  # its owner may be gone by now
        return entry

    def _own(self, at: Address, old: Document | None, new: Document, write: Write) -> None:
        """Give the writer what it changes of an object. One that nobody owns anything of stays like that."""
        structure = at.version.schema.structure
        born: Document = {} if at.resource.custom else managed.zero(structure)
        before, after = (self._part(at, each, write) for each in (born if old is None else old, new))
        owners = managed.owners(new)
        if before != after and (owners or old is None):
            owner = apply.Owner(write.manager, "Update", at.api_version, write.subresource)
            managed.record(new, apply.update(before, after, owner, owners, structure), owner, write.now)

    @staticmethod
    def _part(at: Address, document: Document, write: Write) -> Document:
        return managed.ownable(document, subresource=write.subresource, has_status=at.version.status)

    def _conform(
        self, at: Address, document: Document, write: Write, old: Document | None = None, *, applied: bool = False
    ) -> None:
        envelope.tidy(at.cluster, document["metadata"])
        patched = document if write.is_patch else None
        nulls = Nulls.NOWHERE if not at.resource.custom else Nulls.ANYWHERE if applied else Nulls.UNDECLARED
        dropped, causes = at.version.schema.conform(document, nulls)
        if dropped and write.validation == "Strict":
            unknown = ", ".join(f'unknown field "{path}"' for path in dropped)
            raise errors.undecodable(at.resource.kind, at.version.name, f"strict decoding error: {unknown}", patched)
        if write.validation == "Warn":
            write.warnings += [f'unknown field "{path}"' for path in dropped]
        if not causes and not at.resource.custom and (check := CHECKS.get(at.resource.id)):
            causes = list(check(document))
        causes = names.metadata_causes(document["metadata"]) + causes
        typed = [each for each in causes if each.reason == "FieldValueTypeInvalid"]
        if typed and (not at.resource.custom or typed[0].field.startswith("metadata")):
            listed = ", ".join(f"{each.field}: {each.message}" for each in typed)
            raise errors.undecodable(at.resource.kind, at.version.name, f"json: cannot unmarshal: {listed}", patched)
        if at.version.rules:
            blocked = any(each.reason in _BLOCKING for each in causes)
            causes += [_UNCHECKED] if blocked else at.version.rules.check(document, old)
        if causes:
            raise at.invalid(*causes)

    def _check_namespace(self, at: Address) -> None:
        if not at.resource.namespaced:
            return
        if not self._store.get(Key(at.cluster.name, "namespaces", "", at.namespace)):
            raise errors.not_found("namespaces", at.namespace)
        if at.namespace in at.cluster.terminating:
            refused = at.forbidden(
                f"unable to create new content in namespace {at.namespace} because it is being terminated"
            )
            cause = {"reason": "NamespaceTerminating", "message": f"namespace {at.namespace} is being terminated"}
            refused.details = {**(refused.details or {}), "causes": [{**cause, "field": "metadata.namespace"}]}
            raise refused


# What keeps Kubernetes from looking at validation rules.
_BLOCKING = (
    "FieldValueNotSupported",
    "FieldValueRequired",
    "FieldValueTooLong",
    "FieldValueTooMany",
    "FieldValueTypeInvalid",
)
_UNCHECKED = Cause.invalid(
    "<nil>",
    "null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation",
)


def _stored(at: Address, document: Document) -> Document:
    """The object in the version and the order of fields in which it is stored."""
    head = {"apiVersion": at.resource.api_version(at.resource.storage), "kind": at.resource.kind}
    rest = envelope.without(document, "apiVersion", "kind", "metadata")
    return {**head, "metadata": document["metadata"], **rest}


def _check_applied(at: Address, config: Document, *, known: bool) -> Document:
    """The metadata of a configuration that can be applied to an object that is known, or is to be made."""
    given = config.setdefault("metadata", {})
    namespace = given.get("namespace", "") if isinstance(given, dict) else ""
    if known and isinstance(given, dict):
        given.setdefault("name", at.name)
    metadata = envelope.check(at, config)
    if metadata.get("managedFields"):
        raise errors.bad_request("metadata.managedFields must be nil")
    if not known and metadata.get("uid"):
        raise at.conflict(f"uid mismatch: {metadata['uid']} was asked for, none is there")
    if problems := apply.mistyped(config, at.version.schema.structure):
        kind = f"{at.resource.group}/{at.version.name}, Kind={at.resource.kind}"
        raise errors.not_applicable(f"{namespace}/{at.name}; {kind}", problems)
    return metadata


def _moves_from_client_side(live: Document, error: apply.ConflictsError, write: Write, structure: Document) -> bool:
    """Whether kubectl only takes over what it applied itself, on the client's side, as its annotation tells."""
    last = (live["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    if write.manager != "kubectl" or not last:
        return False
    try:
        before = msgspec.json.decode(last, type=dict)
    except msgspec.MsgspecError:
        return False
    changed, removed = apply.compare(before, live, structure)  # what others changed since is no longer kubectl's
    return {path for _, path in error.conflicts} <= apply.field_set(before, structure) - changed - removed


def _conflict(error: apply.ConflictsError) -> errors.ApiError:
    causes = []
    for owner, path in error.conflicts:
        through = f' with subresource "{owner.subresource}"' if owner.subresource else ""
        using = f" using {owner.api_version}" if owner.operation == "Update" else ""
        message = f'conflict with "{owner.manager}"{through}{using}'
        causes.append(Cause("FieldManagerConflict", apply.path_text(path), message))
    return errors.apply_conflict(causes)
