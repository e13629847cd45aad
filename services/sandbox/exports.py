"""kcp's APIs across workspaces: schemas and exports of those who offer, bindings of those who use."""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from services.sandbox import envelope, errors
from services.sandbox.auth import Attributes, allowed
from services.sandbox.clusters import Cluster, Clusters
from services.sandbox.commits import Address, Commits, Effect
from services.sandbox.errors import Cause, Document
from services.sandbox.registry import Write
from services.sandbox.resources import Resource, from_definition
from services.sandbox.store import EVERY, Entry, Event, Key
from services.sandbox.writes import now

GROUP = "apis.kcp.io"
SCHEMAS, EXPORTS, BINDINGS, SLICES = (
    f"{plural}.{GROUP}" for plural in ("apiresourceschemas", "apiexports", "apibindings", "apiexportendpointslices")
)
NO_SLICE = "apiexports.apis.kcp.io/skip-endpointslice"
Conditions = list[tuple[str, str, str]]  # type, reason (empty where it holds) and message


class Consumer(NamedTuple):
    """What one workspace lets an export see: the resources that it bound, and the verbs of each claim it accepted."""

    binding: str
    bound: frozenset[str]
    claims: Mapping[str, frozenset[str]]

    def verbs(self, resource: str) -> frozenset[str]:
        if resource == BINDINGS:
            return frozenset(("get", "list", "watch"))
        return frozenset("*") if resource in self.bound else self.claims.get(resource, frozenset())


class Exports:
    """Admits these kinds, makes them take effect, and knows the consumers of every export, by cluster name."""

    def __init__(self, commits: Commits, clusters: Clusters, url: str) -> None:
        self._commits = commits
        self._store = commits.store
        self._clusters = clusters
        self._url = url
        self._consumers: dict[Key, dict[str, Consumer]] = {}

    def table(self) -> dict[str, Effect]:
        """What follows from a change, by resource."""
        return {SCHEMAS: self._schema, EXPORTS: self._export, BINDINGS: self._binding, SLICES: self._slice}

    def find(self, path: str, name: str) -> Entry | None:
        """The export of that name in the workspace of that path or id."""
        host = self._clusters.find(path)
        return self._store.get(Key(host.name, EXPORTS, "", name)) if host else None

    def consumers(self, export: Key) -> Mapping[str, Consumer]:
        return self._consumers.get(export, {})

    def offered(self, export: Entry) -> list[Resource]:
        """The resources of an export whose schemas are there."""
        schemas = [self._resource_schema(export, name) for name in schema_names(export.document())]
        return [resource_of(found.document()) for found in schemas if found]

    def admit(self, at: Address, new: Document, old: Document | None, write: Write) -> None:
        """Refuse what cannot be. Raises ApiError 403 where the writer may not bind, 422 for the rest."""
        if at.resource.group != GROUP or write.subresource:
            return
        spec = new.get("spec") or {}
        problem = ""
        if at.resource.id == SCHEMAS:
            problem = _schema_problem(at.name, new, old)
        elif at.resource.id == EXPORTS:
            wanted = [(f".{each['name']}.{each.get('group') or 'core'}", each) for each in spec.get("resources") or ()]
            problem = next(
                (f"schema must end in {end}" for end, each in wanted if not each["schema"].endswith(end)), ""
            )
        elif at.resource.id == BINDINGS and old is None:
            self._may_bind(at, spec["reference"]["export"], write)
        elif at.resource.id == BINDINGS and old and spec["reference"] != old["spec"]["reference"]:
            problem = "reference is immutable"
        if problem:
            cause = Cause("FieldValueInvalid", "spec", f"Invalid value: {problem}")
            raise errors.invalid(at.resource.kind, GROUP, at.name, [cause])

    def _may_bind(self, at: Address, reference: Document, write: Write) -> None:
        """One answer for what may not be bound and for what is not there, so that nothing leaks."""
        path, name = reference.get("path") or at.cluster.name, reference["name"]
        host = self._clusters.find(path)
        wanted = Attributes("bind", GROUP, "apiexports", name=name)
        elsewhere = path not in (at.cluster.name, at.cluster.id)
        missing = host is None or (elsewhere and self.find(path, name) is None)
        if missing or not (host and allowed(self._store, host, write.user, wanted)):
            message = f"unable to create APIBinding: no permission to bind to export {path}:{name}"
            raise errors.forbidden(f'{at.resource.id} "{at.name}" is forbidden: {message}', at.resource.id, at.name)

    def _schema(self, cluster: Cluster, event: Event) -> None:
        for export in self._store.entries(cluster.name, EXPORTS):
            if event.entry.key.name in schema_names(export.document()):
                self._rebind(export.key)

    def _export(self, cluster: Cluster, event: Event) -> None:
        export = event.entry
        if event.type == "DELETED":
            self._consumers.pop(export.key, None)
        else:
            document = export.document()
            holds: Conditions = [("IdentityValid", "", ""), ("VirtualWorkspaceURLsReady", "", "")]
            status = {"identityHash": identity(export), "conditions": _conditions(document, holds)}
            if document.get("status") != status:
                self._commits.put(cluster, export.key, {**document, "status": status})
            if event.type == "ADDED" and NO_SLICE not in document["metadata"].get("annotations", {}):
                self._add_slice(cluster, export.key.name)
        self._rebind(export.key)
        self._refresh_slices(export.key)

    def _add_slice(self, cluster: Cluster, name: str) -> None:
        """kcp gives each export a slice of its own name."""
        resource = cluster.builtin[GROUP, "apiexportendpointslices"]
        at = Address(cluster, resource, resource.versions[resource.storage], name=name)
        if self._store.get(at.key):
            return
        metadata = envelope.fresh(at, now())
        envelope.tidy(cluster, metadata)
        head = {"apiVersion": resource.api_version(resource.storage), "kind": resource.kind, "metadata": metadata}
        self._commits.put(cluster, at.key, {**head, "spec": {"export": {"path": cluster.name, "name": name}}})

    def _slice(self, cluster: Cluster, event: Event) -> None:
        if event.type == "DELETED":
            return
        document = event.entry.document()
        export = self._referenced(cluster, document["spec"]["export"])
        at_work = export is not None and bool(self.consumers(export.key))
        host = self._clusters.find(export.key.cluster) if export else None
        url = f"{self._url}/services/apiexport/{host.id}/{export.key.name}" if export and host else ""
        missing = ("APIExportValid", "" if export else "APIExportNotFound", "" if export else "the export is not found")
        status = {"endpoints": [{"url": url}] if at_work else [], "conditions": _conditions(document, [missing])}
        if document.get("status") != status:
            self._commits.put(cluster, event.entry.key, {**document, "status": status})

    def _refresh_slices(self, export: Key) -> None:
        for entry in self._store.entries(EVERY, SLICES):
            if self._refers(entry, export, entry.document()["spec"]["export"]) and (home := self._home(entry)):
                self._slice(home, Event("MODIFIED", entry, entry))

    def _rebind(self, export: Key) -> None:
        for entry in self._store.entries(EVERY, BINDINGS):
            reference = entry.document()["spec"]["reference"]["export"]
            if self._refers(entry, export, reference) and (home := self._home(entry)):
                self._binding(home, Event("MODIFIED", entry, entry))

    def _home(self, entry: Entry) -> Cluster | None:
        return self._clusters.find(entry.key.cluster)

    def _refers(self, entry: Entry, export: Key, reference: Document) -> bool:
        host = self._clusters.find(reference.get("path") or entry.key.cluster)
        return host is not None and (host.name, reference["name"]) == (export.cluster, export.name)

    def _referenced(self, cluster: Cluster, reference: Document) -> Entry | None:
        return self.find(reference.get("path") or cluster.name, reference["name"])

    def _resource_schema(self, export: Entry, name: str) -> Entry | None:
        return self._store.get(Key(export.key.cluster, SCHEMAS, "", name))

    def _binding(self, cluster: Cluster, event: Event) -> None:
        entry = event.entry
        if event.type == "DELETED":
            self._unbind(cluster, entry)
            return
        document = entry.document()
        export = self._referenced(cluster, document["spec"]["reference"]["export"])
        if export is None:
            self._report(cluster, entry, {}, [("APIExportValid", "APIExportNotFound", "the export is not found")])
            return
        content = export.document()
        claimed = content["spec"].get("permissionClaims") or []
        found: Document = {"apiExportClusterName": home.id if (home := self._home(export)) else ""}
        found["exportPermissionClaims"] = claimed
        schemas = {name: self._resource_schema(export, name) for name in schema_names(content)}
        if missing := next((name for name, schema in schemas.items() if schema is None), None):
            why = f"Please contact the APIExport owner to resolve: APIResourceSchema {missing!r} not found"
            self._report(cluster, entry, found, [("APIExportValid", "InternalError", f"Invalid APIExport. {why}")])
            return
        offered = [(schema, resource_of(schema.document())) for schema in schemas.values() if schema]
        resources = [resource for _, resource in offered]
        if taken := [each.id for each in resources if _taken(cluster, each, entry.key.name)]:
            why = f"Unable to bind APIs: naming conflict with what is already served: {', '.join(taken)}"
            conflict = ("BindingUpToDate", "NamingConflicts", why)
            self._report(cluster, entry, found, [("APIExportValid", "", ""), conflict])
            return
        applied, problem = _applied(document["spec"].get("permissionClaims") or [], claimed)
        stored = {each["resource"]: each for each in document.get("status", {}).get("boundResources") or ()}
        found["appliedPermissionClaims"] = [claim for claim, _ in applied]
        found["boundResources"] = [
            _bound_resource(schema, resource, identity(export), stored.get(resource.plural, {}))
            for schema, resource in offered
        ]
        self._serve(cluster, entry.key.name, resources)
        claims = {_id(claim["group"], claim["resource"]): verbs for claim, verbs in applied}
        self._consume(export.key, cluster, Consumer(entry.key.name, frozenset(r.id for r in resources), claims))
        holds = ("APIExportValid", "BindingUpToDate", "InitialBindingCompleted", "PermissionClaimsApplied", "Ready")
        valid = ("PermissionClaimsValid", "InvalidPermissionClaims" if problem else "", problem)
        self._report(cluster, entry, found, [*((name, "", "") for name in holds), valid], phase="Bound")

    def _serve(self, cluster: Cluster, binding: str, resources: list[Resource]) -> None:
        """Serve these by this binding, and no longer what it served before and does not any more."""
        wanted = {(each.group, each.plural): each for each in resources}
        gone = [where for where, by in cluster.bound.items() if by == binding and where not in wanted]
        for where in gone:
            self._withdraw(cluster, where)
        cluster.custom |= wanted
        cluster.bound |= dict.fromkeys(wanted, binding)

    def _withdraw(self, cluster: Cluster, where: tuple[str, str]) -> None:
        resource = cluster.custom[where]
        for each in self._store.entries(cluster.name, resource.id):
            self._commits.remove(cluster, each.key)
        del cluster.custom[where], cluster.bound[where]
        self._store.close_watches(cluster.name, resource.id)

    def _unbind(self, cluster: Cluster, entry: Entry) -> None:
        self._serve(cluster, entry.key.name, [])
        for export, consumers in self._consumers.items():
            found = consumers.get(cluster.name)
            if found and found.binding == entry.key.name:
                del consumers[cluster.name]
                self._refresh_slices(export)

    def _consume(self, export: Key, cluster: Cluster, consumer: Consumer) -> None:
        consumers = self._consumers.setdefault(export, {})
        before = consumers.get(cluster.name)
        consumers[cluster.name] = consumer
        if before is None:
            self._refresh_slices(export)
        # What a claim opens or shuts is no event of those objects, so whoever watches them must list again.
        for resource, _ in set((before.claims if before else {}).items()) ^ set(consumer.claims.items()):
            self._store.close_watches(EVERY, resource, errors.expired("the permission claims changed; list again"))

    def _report(self, cluster: Cluster, entry: Entry, found: Document, conditions: Conditions, phase: str = "") -> None:
        """Write the status of a binding; one that was bound stays so whatever becomes of the export."""
        document = entry.document()
        old = document.get("status", {})
        if not phase and old.get("phase") != "Bound":
            conditions = [*conditions, ("InitialBindingCompleted", "WaitingForEstablished", conditions[-1][2])]
        status = {**old, **found, "phase": phase or old.get("phase") or "Binding"}
        status["conditions"] = _conditions(document, conditions)
        if old != status:
            self._commits.put(cluster, entry.key, {**document, "status": status})


def identity(export: Entry) -> str:
    """kcp hashes a secret of the export's owner; here it is the uid, which nobody else can choose either."""
    return hashlib.sha256(export.uid.encode()).hexdigest()


def schema_names(export: Document) -> list[str]:
    return [each["schema"] for each in export["spec"].get("resources") or ()]


def resource_of(schema: Document) -> Resource:
    """The resource that an APIResourceSchema describes. Raises KeyError, TypeError or ValueError."""
    versions = [{**version, "schema": {"openAPIV3Schema": version["schema"]}} for version in schema["spec"]["versions"]]
    return from_definition({**schema["spec"], "versions": versions})


def _schema_problem(name: str, new: Document, old: Document | None) -> str:
    if old:
        return "" if new["spec"] == old["spec"] else "APIResourceSchemas are immutable"
    try:
        resource = resource_of(new)
    except (KeyError, TypeError, AttributeError, ValueError, StopIteration) as error:
        return f"{type(error).__name__}: {error}"[:500]
    prefix, _, rest = name.partition(".")
    wanted = f"{resource.plural}.{resource.group or 'core'}"
    return "" if prefix and rest == wanted else f"metadata.name must be <prefix>.{wanted}"


def _taken(cluster: Cluster, resource: Resource, binding: str) -> bool:
    where = resource.group, resource.plural
    return where in cluster.builtin or (where in cluster.custom and cluster.bound.get(where) != binding)


def _id(group: str, plural: str) -> str:
    return f"{plural}.{group}" if group else plural


def _claim_key(claim: Document) -> tuple[str, str, str]:
    return claim.get("group", ""), claim["resource"], claim.get("identityHash", "")


def _applied(accepted: list[Document], claimed: list[Document]) -> tuple[list[tuple[Document, frozenset[str]]], str]:
    """The claims that are both asked for and accepted, with the verbs that both name; and what is wrong."""
    asked = {_claim_key(claim): claim for claim in claimed}
    applied, odd = [], []
    for claim in accepted:
        key = _claim_key(claim)
        if key not in asked:
            odd.append(_id(*key[:2]))
        elif claim.get("state") == "Accepted":
            verbs, offered = set(claim.get("verbs") or ()), set(asked[key].get("verbs") or ())
            both = offered if "*" in verbs else verbs if "*" in offered else verbs & offered
            scoped = {name: value for name, value in claim.items() if name != "state"}
            applied.append(({"group": "", **scoped}, frozenset(both)))
    return applied, f"the export does not claim {', '.join(odd)}" if odd else ""


def _bound_resource(schema: Entry, resource: Resource, identity_hash: str, stored: Document) -> Document:
    return {
        "group": resource.group,
        "resource": resource.plural,
        "schema": {"name": schema.key.name, "UID": schema.uid, "identityHash": identity_hash},
        "storageVersions": sorted({resource.storage, *stored.get("storageVersions", ())}),
    }


def _conditions(document: Document, wanted: Conditions) -> list[Document]:
    """Conditions in kcp's form; the transition time changes only with the status."""
    old = {found["type"]: found for found in document.get("status", {}).get("conditions") or ()}
    result = []
    for kind, reason, message in wanted:
        status = "False" if reason else "True"
        before = old.get(kind, {})
        since = before["lastTransitionTime"] if before.get("status") == status else now()
        why = {"severity": "Error", "reason": reason, "message": message} if reason else {}
        result.append({"type": kind, "status": status, "lastTransitionTime": since, **why})
    return result
