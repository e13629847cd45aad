"""Kinds that mean something to the server itself: what it admits of them, and what follows from them."""

from dataclasses import replace

import msgspec

from services.sandbox import errors
from services.sandbox.auth import ADMINS, RBAC_GROUP
from services.sandbox.clusters import WORKSPACE_RESOURCES, Cluster, Clusters
from services.sandbox.commits import Address, Commits, Effect
from services.sandbox.definitions import definition_problems
from services.sandbox.errors import Cause, Document
from services.sandbox.exports import BINDINGS, EXPORTS
from services.sandbox.registry import Write
from services.sandbox.resources import Resource, from_definition
from services.sandbox.store import Event, Key

NAMESPACE_NAME = "kubernetes.io/metadata.name"
REQUESTER = "placement.moorage.io/requester"
DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"
WORKSPACES = "workspaces.tenancy.kcp.io"
LOGICAL_CLUSTERS = "logicalclusters.core.kcp.io"


def admit(at: Address, new: Document, old: Document | None, write: Write) -> None:
    """Refuse or complete an object on its way in."""
    if old and not write.subresource:
        _check_fixed(at, new, old)
    if at.resource.id == "namespaces" and old is None:
        new["status"] = {"phase": "Active"}
        new.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
        new["metadata"]["labels"] = {**(new["metadata"].get("labels") or {}), NAMESPACE_NAME: at.name}
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
        problem = "roleRef", "Invalid value: cannot change roleRef"
    elif at.resource.id == DEFINITIONS and new["spec"].get("scope") != old["spec"].get("scope"):
        problem = "spec.scope", f'Invalid value: "{new["spec"].get("scope")}": field is immutable'
    if problem:
        raise errors.invalid(at.resource.kind, at.resource.group, at.name, [Cause("FieldValueInvalid", *problem)])


def _check_definition(at: Address, document: Document) -> None:
    if problems := definition_problems(document["spec"]):
        raise errors.invalid(at.resource.kind, at.resource.group, at.name, problems)
    spec = document["spec"]
    try:
        resource = from_definition(spec)
        spec.setdefault("conversion", {"strategy": "None"})
        spec["names"] = {"singular": resource.singular, "listKind": resource.list_name, **spec["names"]}
    except (KeyError, TypeError, AttributeError, ValueError, StopIteration) as error:
        cause = Cause("FieldValueInvalid", "spec", f"Invalid value: {type(error).__name__}: {error}"[:500])
        raise errors.invalid(at.resource.kind, at.resource.group, at.name, [cause]) from error
    wanted = resource.id if resource.group else f"{resource.plural}.core"  # kcp's name for the core group
    if at.name != wanted:
        cause = Cause("FieldValueInvalid", "metadata.name", f'Invalid value: "{at.name}": must be {wanted}')
        raise errors.invalid(at.resource.kind, at.resource.group, at.name, [cause])


def _stamp_requester(new: Document, old: Document | None, write: Write) -> None:
    """Record who asked, as a MutatingAdmissionPolicy does on a real hub; only an administrator can rewrite it."""
    if ADMINS in write.user.groups and old is not None:
        return
    annotations = new["metadata"].setdefault("annotations", {})
    if old is None:
        who = {"username": write.user.name, "groups": write.user.groups}
        annotations[REQUESTER] = msgspec.json.encode(who).decode()
        return
    kept = old["metadata"].get("annotations", {}).get(REQUESTER)
    annotations.pop(REQUESTER, None)
    if kept is not None:
        annotations[REQUESTER] = kept


class Effects:
    """What follows from a change of a definition, a workspace or an RBAC object."""

    def __init__(self, commits: Commits, clusters: Clusters, url: str) -> None:
        self._commits = commits
        self._store = commits.store
        self._clusters = clusters
        self._url = url

    def table(self) -> dict[str, Effect]:
        """By the resource that they follow."""
        rbac = dict.fromkeys(("clusterroles", "clusterrolebindings", "roles", "rolebindings"), self._forget_rules)
        return {
            DEFINITIONS: self._define,
            WORKSPACES: self._workspace,
            **{f"{plural}.{RBAC_GROUP}": effect for plural, effect in rbac.items()},
        }

    @staticmethod
    def _forget_rules(cluster: Cluster, _event: Event) -> None:
        cluster.rules = None

    def _define(self, cluster: Cluster, event: Event) -> None:
        document = event.entry.document()
        resource = from_definition(document["spec"])
        where = (resource.group, resource.plural)
        if where in cluster.bound:
            return  # what an APIBinding serves is not this definition's
        if event.type == "DELETED":
            if cluster.custom.pop(where, None):
                for entry in self._store.entries(cluster.name, resource.id):
                    self._commits.remove(cluster, entry.key)
                self._store.close_watches(cluster.name, resource.id)
            return
        if where in cluster.builtin:
            return  # the built-in kind stays what it is
        others = (each for each in cluster.resources() if each.group == resource.group and each.id != resource.id)
        conflict = next((each.id for each in others if each.kind == resource.kind), "")
        if not conflict:
            cluster.custom[where] = self._dated(resource, cluster.custom.get(where))
        status = _definition_status(document, resource, conflict)
        if document.get("status") != status:
            self._commits.put(cluster, event.entry.key, {**document, "status": status})

    def _dated(self, resource: Resource, before: Resource | None) -> Resource:
        """The resource with the revision at which its schemas changed, none for a new one."""
        if before is None:
            return resource
        schemas = [[version.schema for version in each.versions.values()] for each in (before, resource)]
        return replace(resource, since=before.since if schemas[0] == schemas[1] else self._store.revision)

    def _workspace(self, parent: Cluster, event: Event) -> None:
        path = f"{parent.name}:{event.entry.key.name}"
        if event.type == "DELETED":
            for cluster in (*self._clusters.below(path), self._clusters.find(path)):
                if cluster:
                    for plural in (BINDINGS, EXPORTS):  # which others are to see go
                        for entry in self._store.entries(cluster.name, plural):
                            self._commits.remove(cluster, entry.key)
                    self._clusters.remove(cluster)
                    self._store.drop(cluster.name)
        elif event.type == "ADDED":
            cluster = Cluster(path, WORKSPACE_RESOURCES)
            document = event.entry.document()
            url = self.furnish(cluster, document["metadata"]["creationTimestamp"])
            document["spec"] = {**document.get("spec", {}), "cluster": cluster.id, "URL": url}
            document["status"] = {"phase": "Ready", "conditions": [_condition("WorkspaceScheduled", document)]}
            self._commits.put(parent, event.entry.key, document)

    def furnish(self, cluster: Cluster, now: str) -> str:
        """Add a cluster with what each is born with; returns its URL."""
        self._clusters.add(cluster)
        url = f"{self._url}/clusters/{cluster.name}"
        for name in ("default", "kube-system") if cluster.is_target else ("default",):
            born = {"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
            self._seed(cluster, "v1", "Namespace", "namespaces", name, now, born, {NAMESPACE_NAME: name})
        if not cluster.is_target:
            ready = {"status": {"phase": "Ready", "URL": url}}
            self._seed(cluster, "core.kcp.io/v1alpha1", "LogicalCluster", LOGICAL_CLUSTERS, "cluster", now, ready)
        return url

    def _seed(
        self,
        cluster: Cluster,
        api_version: str,
        kind: str,
        resource: str,
        name: str,
        now: str,
        content: Document,
        labels: Document | None = None,
    ) -> None:
        key = Key(cluster.name, resource, "", name)
        metadata: Document = {"name": name, "uid": f"{cluster.id}-{kind.lower()}-{name}", "creationTimestamp": now}
        if not cluster.is_target:
            metadata["annotations"] = {"kcp.io/cluster": cluster.id, "kcp.io/path": cluster.name}
        if labels:
            metadata["labels"] = labels
        document = {"apiVersion": api_version, "kind": kind, "metadata": metadata, **content}
        self._commits.put(cluster, key, document)


def _condition(kind: str, document: Document) -> Document:
    return {
        "type": kind,
        "status": "True",
        "reason": kind,
        "message": "",
        "lastTransitionTime": document["metadata"]["creationTimestamp"],
    }


def _definition_status(document: Document, resource: Resource, conflict: str) -> Document:
    if conflict:
        refused = {"status": "False", "message": f"{resource.kind!r} is already in use by {conflict}"}
        accepted = {**_condition("NamesAccepted", document), **refused, "reason": "KindConflict"}
        established = {**_condition("Established", document), **refused, "reason": "NotAccepted"}
        return {
            "acceptedNames": {"plural": "", "kind": ""},
            "storedVersions": [],
            "conditions": [accepted, established],
        }
    return {
        "acceptedNames": document["spec"]["names"],
        "storedVersions": [resource.storage],
        "conditions": [_condition("NamesAccepted", document), _condition("Established", document)],
    }
