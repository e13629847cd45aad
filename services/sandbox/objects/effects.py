"""Effects: what follows, in the server itself, from a change of a definition, a workspace or an RBAC object."""

from dataclasses import replace

from services.sandbox.access.auth import RBAC_GROUP
from services.sandbox.errors import Document
from services.sandbox.objects.admission import NAMESPACE_NAME
from services.sandbox.objects.deletion import CLEANUP
from services.sandbox.objects.envelope import born, dated
from services.sandbox.schemas.kinds import DEFINITIONS, WORKSPACES
from services.sandbox.schemas.resources import Resource, from_definition
from services.sandbox.state.clusters import WORKSPACE_RESOURCES, Cluster, Clusters
from services.sandbox.state.store import Event, Store


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
            resource = replace(resource, terminating=_is_terminating(document))
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
            if self._clusters.find(path):  # which a mount has not
                self._store.drop(path)  # and with it, as an effect, the workspaces below
                self._clusters.remove(path)
        elif event.type == "ADDED":
            document = event.entry.document()
            if (document.get("spec") or {}).get("mount"):
                self._store.put(event.entry.key, {**document, "status": {"phase": "Unavailable"}})
                return
            cluster = Cluster(path, WORKSPACE_RESOURCES, shard=self._clusters.shard_for(path, _wanted_shard(document)))
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


def _wanted_shard(workspace: Document) -> str:
    """The shard that a Workspace is to be on by its name, as in kcp; empty where it names none."""
    location = (workspace.get("spec") or {}).get("location") or {}
    return str(((location.get("selector") or {}).get("matchLabels") or {}).get("name", ""))


def _definition_status(document: Document, resource: Resource, conflict: str) -> Document:
    status, said = ("False", f"{resource.kind!r} is already in use by {conflict}") if conflict else ("True", "")
    reasons = ("KindConflict", "NotAccepted") if conflict else ("NamesAccepted", "Established")
    conditions = [
        {"type": kind, "status": status, "reason": reason, "message": said}
        for kind, reason in zip(("NamesAccepted", "Established"), reasons, strict=True)
    ]
    stored = (document.get("status") or {}).get("storedVersions") or []  # until told that nothing is left in one
    shown = dated(document, document["metadata"]["creationTimestamp"], conditions)
    if begun := document["metadata"].get("deletionTimestamp"):
        shown += dated(document, begun, [_terminating(document, conflict)])
    return {
        "acceptedNames": {"plural": "", "kind": ""} if conflict else document["spec"]["names"],
        "storedVersions": [] if conflict else [*stored, *({resource.storage} - set(stored))],
        "conditions": shown,
    }


def _is_terminating(document: Document) -> bool:
    """True if a definition waits for the objects of its kind to go."""
    metadata = document["metadata"]
    return "deletionTimestamp" in metadata and CLEANUP in metadata.get("finalizers", ())


def _terminating(document: Document, conflict: str) -> Document:
    """The condition of a definition that is being deleted."""
    if _is_terminating(document):
        status, reason, said = "True", "InstanceDeletionInProgress", "CustomResource deletion is in progress"
    elif conflict:
        status, reason, said = "False", "NeverEstablished", "resource was never established"
    else:
        status, reason, said = "False", "InstanceDeletionCompleted", "removed all instances"
    return {"type": "Terminating", "status": status, "reason": reason, "message": said}
