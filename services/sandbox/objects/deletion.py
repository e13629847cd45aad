"""Deletion: finalizers, owner references, and namespaces and definitions, which take their content with them.

What a real cluster's controllers do a moment later is done here at once.
"""

from typing import Any

from services.sandbox.errors import Cause, Document, conflict, forbidden, invalid
from services.sandbox.schemas.kinds import DEFINITIONS, NAMESPACES
from services.sandbox.state.clusters import Cluster
from services.sandbox.state.store import Entry, Key, Store

FOREGROUND = "foregroundDeletion"
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"  # holds a definition while there are objects of its kind
_POLICIES = ("Foreground", "Background", "Orphan")


class Deleter:
    """Deletes objects and what hangs on them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def delete(self, cluster: Cluster, entry: Entry, options: Document, now: str) -> tuple[Entry, bool]:
        """The last entry of the object, and whether it is gone (or waits for its finalizers).

        Raises ApiError 409 where the options' preconditions do not hold.
        """
        _check_preconditions(entry, options.get("preconditions") or {})
        policy = policy_of(options)
        if options.get("dryRun"):
            return entry, True
        if entry.key.resource == DEFINITIONS:
            return self._delete_definition(cluster, entry, now)
        return self._delete_object(cluster, entry, policy, now)

    def _delete_object(self, cluster: Cluster, entry: Entry, policy: str, now: str) -> tuple[Entry, bool]:
        document = entry.document()
        metadata = document["metadata"]
        if policy == "Orphan":
            self._orphan(cluster, entry)
        if policy == "Foreground" and FOREGROUND not in metadata.setdefault("finalizers", []):
            metadata["finalizers"].append(FOREGROUND)
        is_namespace = entry.key.resource == NAMESPACES
        if not metadata.get("finalizers") and not is_namespace:
            return self.remove(cluster, entry.key, now), True
        if "deletionTimestamp" not in metadata:
            metadata |= {"deletionTimestamp": now, "deletionGracePeriodSeconds": 0}
            if "generation" in metadata:
                metadata["generation"] += 1
            if is_namespace:
                document["status"] = {**document.get("status", {}), "phase": "Terminating"}
                cluster.terminating.add(entry.key.name)
            entry = self._store.put(entry.key, document)
        if is_namespace:
            for inner in self._store.contents(cluster.name, entry.key.name):
                if self._store.get(inner.key) is inner:  # not yet taken along by its owner
                    self.delete(cluster, inner, {}, now)
            self._finish_namespace(cluster, entry.key.name, now)
        if policy == "Foreground":
            self._collect(cluster, entry.uid, now)
            self._finish_foreground(cluster, entry.uid, entry.key, now)
        return entry, self._store.get(entry.key) is None

    def remove(self, cluster: Cluster, key: Key, now: str, last: Document | None = None) -> Entry:
        """Take an object out at once (as it was at `last`), then what it alone owned, then what waited for it to go."""
        entry = self._store.remove(key, last)
        self._collect(cluster, entry.uid, now)
        for owner in entry.owners:
            for reference in entry.document()["metadata"]["ownerReferences"]:
                if reference["uid"] == owner and (found := self._owner(cluster, reference, key.namespace)):
                    self._finish_foreground(cluster, owner, found.key, now)
        if key.namespace in cluster.terminating:
            self._finish_namespace(cluster, key.namespace, now)
        plural, _, group = key.resource.partition(".")
        kind = cluster.custom.get((group, plural))
        if kind and kind.terminating:
            self._finish_definition(cluster, kind.definition, now)
        return entry

    def _collect(self, cluster: Cluster, uid: str, now: str) -> None:
        for dependent in self._store.dependents(cluster.name, uid):
            self.reconsider(cluster, dependent, now)

    def reconsider(self, cluster: Cluster, dependent: Entry, now: str) -> None:
        """Delete an object of which no owner is left; of several it forgets those that are gone."""
        document = dependent.document()
        references = document["metadata"].get("ownerReferences") or []
        left = [found for found in references if self._stays(self._owner(cluster, found, dependent.key.namespace))]
        if references and not left:
            self.delete(cluster, dependent, {}, now)
        elif len(left) < len(references):
            document["metadata"]["ownerReferences"] = left
            self._store.put(dependent.key, document)

    @staticmethod
    def _stays(owner: Entry | None) -> bool:
        return owner is not None and FOREGROUND not in (owner.document()["metadata"].get("finalizers") or ())

    def _owner(self, cluster: Cluster, reference: Any, namespace: str) -> Entry | None:
        resource = cluster.by_kind(reference["apiVersion"], reference["kind"])
        if resource is None:
            return None
        key = Key(cluster.name, resource.id, namespace if resource.namespaced else "", reference["name"])
        found = self._store.get(key)
        return found if found and found.uid == reference["uid"] else None

    def _orphan(self, cluster: Cluster, entry: Entry) -> None:
        for dependent in self._store.dependents(cluster.name, entry.uid):
            document = dependent.document()
            metadata = document["metadata"]
            metadata["ownerReferences"] = [owner for owner in metadata["ownerReferences"] if owner["uid"] != entry.uid]
            self._store.put(dependent.key, document)

    def _finish_foreground(self, cluster: Cluster, uid: str, key: Key, now: str) -> None:
        entry = self._store.get(key)
        if entry is None or self._store.dependents(cluster.name, uid):
            return
        self._take_off(cluster, entry, FOREGROUND, now)

    def _take_off(self, cluster: Cluster, entry: Entry, finalizer: str, now: str) -> None:
        """Take a finalizer off; an object goes with its last one."""
        document = entry.document()
        finalizers = document["metadata"].get("finalizers") or []
        if finalizer not in finalizers:
            return
        finalizers.remove(finalizer)
        if finalizers:
            self._store.put(entry.key, document)
        else:
            self.remove(cluster, entry.key, now)

    def _finish_namespace(self, cluster: Cluster, name: str, now: str) -> None:
        key = Key(cluster.name, NAMESPACES, "", name)
        entry = self._store.get(key)
        if entry is None or next(self._store.contents(cluster.name, name), None):
            return
        if not entry.document()["metadata"].get("finalizers"):
            cluster.terminating.discard(name)
            self.remove(cluster, key, now)

    def _delete_definition(self, cluster: Cluster, entry: Entry, now: str) -> tuple[Entry, bool]:
        """A definition goes once the objects of its kind are gone, however its deletion is to propagate."""
        document = entry.document()
        metadata = document["metadata"]
        if "deletionTimestamp" not in metadata:
            held = dict.fromkeys((*(metadata.get("finalizers") or ()), CLEANUP))
            metadata |= {"deletionTimestamp": now, "finalizers": list(held)}
            entry = self._store.put(entry.key, document)
        if kind := cluster.defined(entry.key.name):
            for inner in self._store.entries(cluster.name, kind.id):
                if self._store.get(inner.key) is inner:  # not yet taken along by its owner
                    self.delete(cluster, inner, {}, now)
        self._finish_definition(cluster, entry.key.name, now)
        found = self._store.get(entry.key)
        return found or entry, found is None

    def _finish_definition(self, cluster: Cluster, name: str, now: str) -> None:
        entry = self._store.get(Key(cluster.name, DEFINITIONS, "", name))
        kind = cluster.defined(name)
        if entry and not (kind and self._store.holds(cluster.name, kind.id)):
            self._take_off(cluster, entry, CLEANUP, now)


def policy_of(options: Document) -> str:
    """What shall become of dependents; empty for the default. Raises ApiError 422."""
    policy = options.get("propagationPolicy") or ("Orphan" if options.get("orphanDependents") else "")
    if policy and policy not in _POLICIES:
        supported = ", ".join(f'"{each}"' for each in (*_POLICIES, "nil"))
        message = f'Unsupported value: "{str(policy)[:50]}": supported values: {supported}'
        cause = Cause("FieldValueNotSupported", "propagationPolicy", message)
        raise invalid("DeleteOptions", "meta.k8s.io", "", [cause])
    return str(policy)


def check_deletable(resource: str, name: str) -> None:
    """Raise ApiError 403 for the namespaces that stay, also where they are not."""
    if resource == NAMESPACES and name in ("default", "kube-system", "kube-public"):
        raise forbidden(f'namespaces "{name}" is forbidden: this namespace may not be deleted', resource, name)


def _check_preconditions(entry: Entry, preconditions: Document) -> None:
    check_deletable(entry.key.resource, entry.key.name)
    for field, shown, actual, else_said in (
        ("uid", "UID", entry.uid, "deleted and then recreated"),
        ("resourceVersion", "ResourceVersion", str(entry.version), "modified"),
    ):
        wanted = preconditions.get(field)
        if wanted is not None and wanted != actual:
            why = f"the {shown} in the precondition ({wanted}) does not match the {shown} in record ({actual})"
            _, dot, group = entry.key.resource.partition(".")
            named = f"{entry.document()['kind']}{dot}{group}"
            raise conflict(named, entry.key.name, f"{why}. The object might have been {else_said}")
