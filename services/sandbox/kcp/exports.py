"""kcp's APIs across workspaces: schemas and exports of those who offer, bindings of those who use."""

import hashlib
from collections.abc import Mapping

from services.sandbox import errors
from services.sandbox.access.auth import Attributes, allowed
from services.sandbox.errors import Cause, Document
from services.sandbox.kcp.consumers import BINDINGS, GROUP, Consumer, agreed, consumer
from services.sandbox.objects import envelope
from services.sandbox.objects.registry import Write
from services.sandbox.objects.writes import now
from services.sandbox.schemas.resources import Resource, from_definition
from services.sandbox.state.clusters import ROOT, WORKSPACE_RESOURCES, Address, Cluster, Clusters, Origin
from services.sandbox.state.store import EVERY, Entry, Event, Key, Store
from shared.api import GROUP as OURS

SCHEMAS, EXPORTS, SLICES = (
    f"{plural}.{GROUP}" for plural in ("apiresourceschemas", "apiexports", "apiexportendpointslices")
)
PATH = "kcp.io/path"
NO_SLICE = "apiexports.apis.kcp.io/skip-endpointslice"
Conditions = list[tuple[str, str, str]]  # type, reason (empty where it holds) and message


class Exports:
    """Admits these kinds, makes them take effect, and knows the consumers of every export, by cluster name."""

    def __init__(self, store: Store, clusters: Clusters, url: str) -> None:
        self._store = store
        self._clusters = clusters
        self._url = url
        self._consumers: dict[Key, dict[str, Consumer]] = {}
        self._offering: set[Key] = set()  # exports of Moorage's own kinds
        store.effects |= {SCHEMAS: self._schema, EXPORTS: self._export, BINDINGS: self._binding, SLICES: self._slice}

    def find(self, path: str, name: str) -> Entry | None:
        """The export of that name in the workspace of that path or id."""
        host = self._clusters.find(path)
        return self._store.get(Key(host.name, EXPORTS, "", name)) if host else None

    def consumers(self, export: Key) -> Mapping[str, Consumer]:
        return self._consumers.get(export, {})

    def offered(self, export: Entry) -> list[Resource]:
        """What its virtual workspace serves: its resources whose schemas are there, what it claims, and bindings."""
        found = self._own(export)
        known = {each.id for each in found}
        claims = export.document()["spec"].get("permissionClaims") or ()
        claimed = [self._claimed(claim) for claim in (*claims, {"group": GROUP, "resource": "apibindings"})]
        return found + [each for each in claimed if each and each.id not in known]

    def _own(self, export: Entry) -> list[Resource]:
        schemas = [self._resource_schema(export, name) for name in schema_names(export.document())]
        return [resource_of(found.document()) for found in schemas if found]

    def _claimed(self, claim: Document) -> Resource | None:
        """A kind that is claimed: one that is built in, or of the export of that identity."""
        where = claim.get("group", ""), claim["resource"]
        if not (wanted := claim.get("identityHash")):
            return WORKSPACE_RESOURCES.get(where)
        owners = (each for each in self._store.entries(EVERY, EXPORTS) if identity(each) == wanted)
        return next((each for own in owners for each in self._own(own) if (each.group, each.plural) == where), None)

    def guards(self, at: Address) -> bool:
        """Whether the admission of Moorage's own kinds holds there: everywhere, until some export offers them. Then it
        is the exporter's, and kinds of a workspace's own making are its owner's alone."""
        return bool(not self._offering or (at.resource.group, at.resource.plural) in at.cluster.bound)

    def admit(self, at: Address, new: Document, old: Document | None, write: Write) -> None:
        """Refuse what cannot be. Raises ApiError 403 where the writer may not bind, 422 for the rest."""
        if at.resource.group != GROUP or write.subresource:
            return
        spec = new.get("spec") or {}
        problem = ""
        if at.resource.id in (EXPORTS, BINDINGS):  # what is read of several workspaces at once says of which it is
            new["metadata"]["annotations"] = {**(new["metadata"].get("annotations") or {}), PATH: at.cluster.name}
        if at.resource.id == SCHEMAS:
            if old and new["spec"] != old["spec"]:
                raise at.forbidden("spec: Invalid value: field is immutable")
            problem = "" if old else _schema_problem(at.name, new)
        elif at.resource.id == EXPORTS:
            wanted = [(f".{each['name']}.{each.get('group') or 'core'}", each) for each in spec.get("resources") or ()]
            problem = next(
                (f"schema must end in {end}" for end, each in wanted if not each["schema"].endswith(end)), ""
            )
            for index, claim in enumerate(spec.get("permissionClaims") or ()):
                where = claim.get("group", ""), claim["resource"]
                if not claim.get("identityHash") and where not in WORKSPACE_RESOURCES and where[0] != GROUP:
                    why = "identityHash is required for API types that are not built-in"
                    raise at.forbidden(f"spec.permissionClaims[{index}].identityHash: Invalid value: {why}")
        elif at.resource.id == BINDINGS and old is None:
            self._may_bind(at, spec["reference"]["export"], write)
        elif at.resource.id == BINDINGS and old and spec["reference"] != old["spec"]["reference"]:
            problem = "reference is immutable"
        if problem:
            raise at.invalid(Cause.invalid("spec", f"{problem}"))

    def _may_bind(self, at: Address, reference: Document, write: Write) -> None:
        """One answer for what may not be bound and for what is not there, so that nothing leaks."""
        path, name = reference.get("path") or at.cluster.name, reference["name"]
        host = self._clusters.find(path)
        wanted = Attributes("bind", GROUP, "apiexports", name=name)
        elsewhere = path not in (at.cluster.name, at.cluster.id)
        missing = host is None or (elsewhere and self.find(path, name) is None)
        if missing or not (host and allowed(self._store, host, write.user, wanted, enters=False)):
            raise at.forbidden(f"unable to create APIBinding: no permission to bind to export {path}:{name}")

    def _schema(self, event: Event) -> None:
        for export in self._store.entries(event.entry.key.cluster, EXPORTS):
            if event.entry.key.name in schema_names(export.document()):
                self._rebind(export.key)

    def _export(self, event: Event) -> None:
        export = event.entry
        if event.type == "DELETED":
            self._consumers.pop(export.key, None)
            self._offering.discard(export.key)
        else:
            if any(name.endswith(f".{OURS}") for name in schema_names(export.document())):
                self._offering.add(export.key)
            holds: Conditions = [("IdentityValid", "", ""), ("VirtualWorkspaceURLsReady", "", "")]
            self._report(export, {"identityHash": identity(export)}, holds)
            if event.type == "ADDED" and NO_SLICE not in export.document()["metadata"].get("annotations", {}):
                self._add_slice(export.key)
        self._rebind(export.key)
        self._refresh_slices(export.key)

    def _add_slice(self, export: Key) -> None:
        """kcp gives each export a slice of its own name."""
        cluster = self._clusters.home(export)
        at = cluster.address(GROUP, "apiexportendpointslices", name=export.name)
        if not self._store.get(at.key):
            spec = {"export": {"path": cluster.name, "name": export.name}}
            self._store.put(at.key, envelope.born(at, now(), spec=spec))

    def _slice(self, event: Event) -> None:
        if event.type != "DELETED":
            export = self._referenced(event.entry)
            missing = "" if export else "the export is not found"
            endpoints = [{"url": url} for url in self._endpoints(export)] if export else []
            condition = ("APIExportValid", missing and "APIExportNotFound", missing)
            self._report(event.entry, {"endpoints": endpoints}, [condition])

    def _endpoints(self, export: Entry) -> list[str]:
        """The virtual workspaces of an export: on each shard that has a consumer of it."""
        below = f"services/apiexport/{self._clusters.home(export.key).id}/{export.key.name}"
        used = {self._clusters.at(cluster).shard for cluster in self.consumers(export.key)}
        shards = (each for each in self._clusters.shards if each in used)
        return [f"{self._url}/{below}" if each == ROOT else f"{self._url}/shards/{each}/{below}" for each in shards]

    def _refresh_slices(self, export: Key) -> None:
        for entry in self._referring(SLICES, export):
            self._slice(Event("MODIFIED", entry, entry))

    def _rebind(self, export: Key) -> None:
        for entry in self._referring(BINDINGS, export):
            self._binding(Event("MODIFIED", entry, entry))

    def _referring(self, resource: str, export: Key) -> list[Entry]:
        """The bindings or slices, anywhere, that name this export, whether it is there or not."""
        return [entry for entry in self._store.entries(EVERY, resource) if self._reference(entry) == export]

    def _reference(self, entry: Entry) -> Key | None:
        spec = entry.document()["spec"]
        export = spec.get("reference", spec)["export"]
        host = self._clusters.find(export.get("path") or entry.key.cluster)
        return Key(host.name, EXPORTS, "", export["name"]) if host else None

    def _referenced(self, entry: Entry) -> Entry | None:
        key = self._reference(entry)
        return self._store.get(key) if key else None

    def _resource_schema(self, export: Entry, name: str) -> Entry | None:
        return self._store.get(Key(export.key.cluster, SCHEMAS, "", name))

    def _binding(self, event: Event) -> None:
        entry = event.entry
        if event.type == "DELETED":
            self._unbind(entry.key)
            return
        export = self._referenced(entry)
        found, conditions = self._bind(entry, export) if export else ({}, [_NO_EXPORT])
        if "boundResources" in found:
            found["phase"] = "Bound"
        elif entry.document().get("status", {}).get("phase") != "Bound":  # one that was bound stays so
            found["phase"] = "Binding"
            conditions = [*conditions, ("InitialBindingCompleted", "WaitingForEstablished", conditions[-1][2])]
        self._report(entry, found, conditions)
        if export and (current := self._store.get(entry.key)):
            claimed = export.document()["spec"].get("permissionClaims") or []
            self._consume(export.key, self._clusters.home(entry.key), consumer(current.document(), claimed))

    def _bind(self, entry: Entry, export: Entry) -> tuple[Document, Conditions]:
        """Serve what the export offers, if that can be; what the status of the binding says of it."""
        cluster, document, content = self._clusters.home(entry.key), entry.document(), export.document()
        claimed = content["spec"].get("permissionClaims") or []
        found: Document = {
            "apiExportClusterName": self._clusters.home(export.key).id,
            "exportPermissionClaims": claimed,
        }
        schemas = {name: self._resource_schema(export, name) for name in schema_names(content)}
        if missing := next((name for name, schema in schemas.items() if schema is None), None):
            why = f"Please contact the APIExport owner to resolve: APIResourceSchema {missing!r} not found"
            return found, [("APIExportValid", "InternalError", f"Invalid APIExport. {why}")]
        offered = [(schema, resource_of(schema.document())) for schema in schemas.values() if schema]
        if taken := [resource.id for _, resource in offered if _taken(cluster, resource, entry.key.name)]:
            why = f"Unable to bind APIs: naming conflict with what is already served: {', '.join(taken)}"
            return found, [("APIExportValid", "", ""), ("BindingUpToDate", "NamingConflicts", why)]
        applied, problem = agreed(document["spec"].get("permissionClaims") or [], claimed)
        stored = {each["resource"]: each for each in document.get("status", {}).get("boundResources") or ()}
        found["appliedPermissionClaims"] = [claim for claim, _ in applied]
        found["boundResources"] = [
            _bound_resource(schema, resource, identity(export), stored.get(resource.plural, {}))
            for schema, resource in offered
        ]
        origin = Origin(entry.key.name, identity(export))
        self._serve(cluster, origin, [resource for _, resource in offered])
        policy = content["spec"].get("maximalPermissionPolicy") or {}
        for _, resource in offered:
            cluster.bounds.pop((resource.group, resource.plural), None)
            if "local" in policy:
                cluster.bounds[resource.group, resource.plural] = self._clusters.home(export.key)
        holds = ("APIExportValid", "BindingUpToDate", "InitialBindingCompleted", "PermissionClaimsApplied", "Ready")
        valid = ("PermissionClaimsValid", "InvalidPermissionClaims" if problem else "", problem)
        return found, [*((name, "", "") for name in holds), valid]

    def _serve(self, cluster: Cluster, origin: Origin, resources: list[Resource]) -> None:
        """Serve these by this binding, and no longer what it served before and does not any more."""
        wanted = {(each.group, each.plural): each for each in resources}
        served = [where for where, by in cluster.bound.items() if by.binding == origin.binding]
        for where in [each for each in served if each not in wanted]:
            cluster.withdraw(self._store, *where)
        cluster.custom |= wanted
        cluster.bound |= dict.fromkeys(wanted, origin)

    def _unbind(self, binding: Key) -> None:
        self._serve(self._clusters.home(binding), Origin(binding.name, ""), [])
        for export, consumers in self._consumers.items():
            found = consumers.get(binding.cluster)
            if found and found.binding == binding.name:
                del consumers[binding.cluster]
                self._refresh_slices(export)

    def _consume(self, export: Key, cluster: Cluster, consumer: Consumer) -> None:
        consumers = self._consumers.setdefault(export, {})
        before = consumers.get(cluster.name)
        if before and before.binding != consumer.binding and not consumer.bound:
            return  # it waits beside one that is in place
        consumers[cluster.name] = consumer
        if before is None:
            self._refresh_slices(export)
        # What a claim opens or shuts is no event of those objects, so whoever watches them must list again.
        for resource in set(before.claims if before else ()) ^ set(consumer.claims):
            self._store.close_watches(EVERY, resource, errors.expired("the permission claims changed; list again"))

    def _report(self, entry: Entry, found: Document, conditions: Conditions) -> None:
        """Write the status of an object, if it is another than before."""
        document = entry.document()
        old = document.get("status", {})
        status = {
            **old,
            **found,
            "conditions": envelope.dated(document, now(), [_condition(*each) for each in conditions]),
        }
        if old != status:
            self._store.put(entry.key, {**document, "status": status})


_NO_EXPORT = ("APIExportValid", "APIExportNotFound", "the export is not found")


def identity(export: Entry) -> str:
    """kcp hashes a secret of the export's owner; here it is the uid, which nobody else can choose either."""
    return hashlib.sha256(export.uid.encode()).hexdigest()


def schema_names(export: Document) -> list[str]:
    return [each["schema"] for each in export["spec"].get("resources") or ()]


def resource_of(schema: Document) -> Resource:
    """The resource that an APIResourceSchema describes. Raises KeyError, TypeError or ValueError."""
    versions = [{**version, "schema": {"openAPIV3Schema": version["schema"]}} for version in schema["spec"]["versions"]]
    return from_definition({**schema["spec"], "versions": versions})


def _schema_problem(name: str, new: Document) -> str:
    try:
        resource = resource_of(new)
    except (KeyError, TypeError, AttributeError, ValueError, StopIteration) as error:
        return f"{type(error).__name__}: {error}"[:500]
    prefix, _, rest = name.partition(".")
    wanted = f"{resource.plural}.{resource.group or 'core'}"
    return "" if prefix and rest == wanted else f"metadata.name must be <prefix>.{wanted}"


def _taken(cluster: Cluster, resource: Resource, binding: str) -> bool:
    where = resource.group, resource.plural
    origin = cluster.bound.get(where)
    return where in cluster.builtin or (where in cluster.custom and (origin is None or origin.binding != binding))


def _bound_resource(schema: Entry, resource: Resource, identity_hash: str, stored: Document) -> Document:
    return {
        "group": resource.group,
        "resource": resource.plural,
        "schema": {"name": schema.key.name, "UID": schema.uid, "identityHash": identity_hash},
        "storageVersions": sorted({resource.storage, *stored.get("storageVersions", ())}),
    }


def _condition(kind: str, reason: str, message: str) -> Document:
    """A condition in kcp's form."""
    if not reason:
        return {"type": kind, "status": "True"}
    return {"type": kind, "status": "False", "severity": "Error", "reason": reason, "message": message}
