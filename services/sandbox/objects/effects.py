"""Kinds that mean something to the server itself: what it admits of them, and what follows from them."""

import base64
from dataclasses import replace
from typing import Any

import msgspec

from services.sandbox.access.auth import ADMINS, RBAC_GROUP
from services.sandbox.errors import Cause, Document
from services.sandbox.objects.envelope import born, dated
from services.sandbox.objects.registry import Write
from services.sandbox.schemas.definitions import definition_problems
from services.sandbox.schemas.resources import Resource, from_definition
from services.sandbox.state.clusters import WORKSPACE_RESOURCES, Address, Cluster, Clusters
from services.sandbox.state.store import Event, Store
from shared.hub.names import REQUESTER_ANNOTATION

NAMESPACE_NAME = "kubernetes.io/metadata.name"
_ROLE_REF = {"APIGroup": "apiGroup", "Kind": "kind", "Name": "name"}  # told by the names of Go's fields
DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"
WORKSPACES = "workspaces.tenancy.kcp.io"
_FIXED = {  # fields that stay as they were made
    DEFINITIONS: "spec.scope",
    "secrets": "type",
    **dict.fromkeys(("deployments.apps", "daemonsets.apps", "replicasets.apps"), "spec.selector"),
}


def admit(at: Address, new: Document, old: Document | None, write: Write) -> None:
    """Refuse or complete an object on its way in."""
    if old and not write.subresource:
        _check_fixed(at, new, old)
    if at.resource.id == "namespaces" and old is None:
        new["status"] = {"phase": "Active"}
        new.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
        new["metadata"]["labels"] = {**(new["metadata"].get("labels") or {}), NAMESPACE_NAME: at.name}
    elif at.resource.id == "secrets" and (strings := new.pop("stringData", None)):
        encoded = {key: base64.b64encode(text.encode()).decode() for key, text in strings.items()}
        new["data"] = {**(new.get("data") or {}), **encoded}
    elif at.resource.id == WORKSPACES and old is None:
        new["status"] = {"phase": "Scheduling"}
    elif at.resource.id == DEFINITIONS and not write.subresource:
        _check_definition(at, new)
    elif at.resource.id == "placements.placement.moorage.io":
        _stamp_requester(new, old, write)


def _check_fixed(at: Address, new: Document, old: Document) -> None:
    """Refuse changes of what is for good. Raises ApiError 422."""
    problem = None
    if old.get("immutable") is True and at.resource.id in ("configmaps", "secrets"):
        if any(new.get(name) != old.get(name) for name in ("data", "binaryData", "immutable")):
            problem = "data", "Forbidden: field is immutable when `immutable` is set"
    elif "roleRef" in old and at.resource.group == RBAC_GROUP and new.get("roleRef") != old["roleRef"]:
        told = {name: new.get("roleRef", {}).get(given, "") for name, given in _ROLE_REF.items()}
        problem = "roleRef", f"Invalid value: {msgspec.json.encode(told).decode()}: cannot change roleRef"
    elif field := _FIXED.get(at.resource.id):
        before, after = (_at(each, field) for each in (old, new))
        if before != after:
            problem = field, f"Invalid value: {msgspec.json.encode(after).decode()}: field is immutable"
    if problem:
        raise at.invalid(Cause("FieldValueInvalid", *problem))


def _at(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _check_definition(at: Address, document: Document) -> None:
    if problems := definition_problems(document["spec"]):
        raise at.invalid(*problems)
    spec = document["spec"]
    try:
        resource = from_definition(spec)
        spec.setdefault("conversion", {"strategy": "None"})
        spec["names"] = {"singular": resource.singular, "listKind": resource.list_name, **spec["names"]}
    except (KeyError, TypeError, AttributeError, ValueError, StopIteration) as error:
        cause = Cause.invalid("spec", f"{type(error).__name__}: {error}"[:500])
        raise at.invalid(cause) from error
    wanted = resource.id if resource.group else f"{resource.plural}.core"  # kcp's name for the core group
    if at.name != wanted:
        cause = Cause.invalid("metadata.name", f'"{at.name}": must be {wanted}')
        raise at.invalid(cause)


def _stamp_requester(new: Document, old: Document | None, write: Write) -> None:
    """Record who asked, as a MutatingAdmissionPolicy does on a real hub; only an administrator can rewrite it."""
    if ADMINS in write.user.groups and old is not None:
        return
    annotations = new["metadata"].setdefault("annotations", {})
    if old is None:
        who = {"username": write.user.name, "groups": write.user.groups}
        annotations[REQUESTER_ANNOTATION] = msgspec.json.encode(who).decode()
        return
    kept = old["metadata"].get("annotations", {}).get(REQUESTER_ANNOTATION)
    annotations.pop(REQUESTER_ANNOTATION, None)
    if kept is not None:
        annotations[REQUESTER_ANNOTATION] = kept


class Effects:
    """What follows from a change of a definition, a workspace or an RBAC object."""

    def __init__(self, store: Store, clusters: Clusters, url: str) -> None:
        self._store = store
        self._clusters = clusters
        self._url = url
        rbac = (f"{plural}.{RBAC_GROUP}" for plural in ("clusterroles", "clusterrolebindings", "roles", "rolebindings"))
        store.effects |= {DEFINITIONS: self._define, WORKSPACES: self._workspace}
        store.effects |= dict.fromkeys(rbac, self._forget_rules)

    def _forget_rules(self, event: Event) -> None:
        self._clusters.home(event.entry.key).rules = None

    def _define(self, event: Event) -> None:
        cluster, document = self._clusters.home(event.entry.key), event.entry.document()
        resource = from_definition(document["spec"])
        where = (resource.group, resource.plural)
        if where in cluster.bound:
            return  # what an APIBinding serves is not this definition's
        if event.type == "DELETED":
            if where in cluster.custom:
                cluster.withdraw(self._store, *where)
            return
        if where in cluster.builtin:
            return  # the built-in kind stays what it is
        others = (each for each in cluster.resources() if each.group == resource.group and each.id != resource.id)
        conflict = next((each.id for each in others if each.kind == resource.kind), "")
        if not conflict:
            cluster.custom[where] = self._dated(resource, cluster.custom.get(where))
        status = _definition_status(document, resource, conflict)
        if document.get("status") != status:
            self._store.put(event.entry.key, {**document, "status": status})

    def _dated(self, resource: Resource, before: Resource | None) -> Resource:
        """The resource with the revision at which its schemas changed, none for a new one."""
        if before is None:
            return resource
        schemas = [[version.schema for version in each.versions.values()] for each in (before, resource)]
        return replace(resource, since=before.since if schemas[0] == schemas[1] else self._store.revision)

    def _workspace(self, event: Event) -> None:
        path = f"{event.entry.key.cluster}:{event.entry.key.name}"
        if event.type == "DELETED":
            self._store.drop(path)  # and with it, as an effect, the workspaces below
            self._clusters.remove(path)
        elif event.type == "ADDED":
            cluster = Cluster(path, WORKSPACE_RESOURCES)
            document = event.entry.document()
            made = document["metadata"]["creationTimestamp"]
            url = self.furnish(cluster, made)
            scheduled = {"type": "WorkspaceScheduled", "status": "True", "reason": "WorkspaceScheduled", "message": ""}
            document["spec"] = {**document.get("spec", {}), "cluster": cluster.id, "URL": url}
            document["status"] = {"phase": "Ready", "conditions": dated(document, made, [scheduled])}
            self._store.put(event.entry.key, document)

    def furnish(self, cluster: Cluster, now: str) -> str:
        """Add a cluster with what each is born with; returns its URL."""
        self._clusters.add(cluster)
        url = f"{self._url}/clusters/{cluster.name}"
        for name in ("default", "kube-system") if cluster.is_target else ("default",):
            at = cluster.address("", "namespaces", name=name)
            document = born(at, now, spec={"finalizers": ["kubernetes"]}, status={"phase": "Active"})
            document["metadata"]["labels"] = {NAMESPACE_NAME: name}
            self._store.put(at.key, document)
        if not cluster.is_target:
            at = cluster.address("core.kcp.io", "logicalclusters", name="cluster")
            document = born(at, now, status={"phase": "Ready", "URL": url})
            document["metadata"]["annotations"]["kcp.io/path"] = cluster.name
            self._store.put(at.key, document)
        return url


def _definition_status(document: Document, resource: Resource, conflict: str) -> Document:
    status, said = ("False", f"{resource.kind!r} is already in use by {conflict}") if conflict else ("True", "")
    reasons = ("KindConflict", "NotAccepted") if conflict else ("NamesAccepted", "Established")
    conditions = [
        {"type": kind, "status": status, "reason": reason, "message": said}
        for kind, reason in zip(("NamesAccepted", "Established"), reasons, strict=True)
    ]
    return {
        "acceptedNames": {"plural": "", "kind": ""} if conflict else document["spec"]["names"],
        "storedVersions": [] if conflict else [resource.storage],
        "conditions": dated(document, document["metadata"]["creationTimestamp"], conditions),
    }
