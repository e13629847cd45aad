"""Workspaces of a case's own on kcp, and an API that one of them offers and another one uses."""

from dataclasses import dataclass
from typing import Any

from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import Resource
from tests.conformance.api import document, until

APIS = "apis.kcp.io"
SCHEMAS = Resource(APIS, "v1alpha1", "apiresourceschemas", False, "APIResourceSchema")
EXPORTS = Resource(APIS, "v1alpha2", "apiexports", False, "APIExport")
BINDINGS = Resource(APIS, "v1alpha2", "apibindings", False, "APIBinding")
SLICES = Resource(APIS, "v1alpha1", "apiexportendpointslices", False, "APIExportEndpointSlice")
LOGICAL_CLUSTERS = Resource("core.kcp.io", "v1alpha1", "logicalclusters", False, "LogicalCluster")
THINGS = Resource("things.example.com", "v1", "things", kind="Thing")
CLAIM = {"group": "", "resource": "configmaps", "verbs": ["get", "list", "watch"]}


@dataclass(frozen=True)
class Tree:
    """A workspace of this case's own with two below it, and the client of its administrator."""

    admin: Client
    path: str

    def at(self, name: str = "") -> Client:
        return self.admin.cluster(f"{self.path}:{name}" if name else self.path)


async def offer(provider: Client, *claims: dict[str, Any]) -> None:
    content = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": content}
    names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
    spec = {"group": THINGS.group, "scope": "Namespaced", "names": names, "versions": [version]}
    await provider.create(SCHEMAS, document(SCHEMAS, f"v1.things.{THINGS.group}", spec=spec))
    resource = {"group": THINGS.group, "name": "things", "schema": f"v1.things.{THINGS.group}", "storage": {"crd": {}}}
    spec = {"resources": [resource], "permissionClaims": list(claims)}
    await provider.create(EXPORTS, document(EXPORTS, "things", spec=spec))


async def bind(tree: Tree, *claims: dict[str, Any]) -> dict[str, Any]:
    accepted = [{**each, "state": "Accepted", "selector": {"matchAll": True}} for each in claims]
    spec = {"reference": {"export": {"path": f"{tree.path}:provider", "name": "things"}}, "permissionClaims": accepted}
    consumer = tree.at("consumer")

    async def may_bind() -> bool:  # kcp takes a moment to take notice of an export
        try:
            await consumer.create(BINDINGS, document(BINDINGS, "things", spec=spec))
        except ApiError as error:
            if not error.forbidden:
                raise
            return False
        return True

    await until(may_bind, "the export may be bound")

    async def bound() -> dict[str, Any] | None:
        found = await consumer.get(BINDINGS, "things")
        return found if (found.get("status") or {}).get("phase") == "Bound" else None

    found: dict[str, Any] = await until(bound, "the binding is Bound")
    return found
