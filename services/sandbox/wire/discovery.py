"""Discovery: the server's version, aggregated and legacy group lists, OpenAPI v3 per group version, and v2. No I/O."""

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from services.sandbox.errors import Document, no_such_path
from services.sandbox.schemas.resources import Resource, version_priority
from services.sandbox.state.clusters import Cluster
from services.sandbox.wire import openapi
from services.sandbox.wire.http import Response, answer

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
VERSION: Document = {
    **dict.fromkeys(("gitCommit", "goVersion", "compiler"), ""),
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.0+moorage-sandbox",
    "platform": "sandbox",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
}
_STATUS_VERBS = ["get", "patch", "update"]
_CHANGES = frozenset(("create", "patch", "update"))
_SCALE = {"group": "autoscaling", "version": "v1", "kind": "Scale"}


def serve(cluster: Cluster, parts: tuple[str, ...], accept: str) -> Response:
    """The document at a path below a cluster. Raises ApiError 404."""
    wants_aggregated = "as=APIGroupDiscoveryList" in accept and "v=v2;" in f"{accept.partition(',')[0]};"
    found: Document | None = None
    match parts:
        case ("version",):
            found = VERSION
        case ("api" | "apis" as root,) if wants_aggregated:
            return Response(200, msgspec.json.encode(aggregated(cluster, core=root == "api")), AGGREGATED)
        case ("api",):
            found = {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        case ("apis",):
            found = group_list(cluster)
        case ("api", version):
            found = resource_list(cluster, "", version)
        case ("apis", name):
            found = group(cluster, name)
        case ("apis", name, version):
            found = resource_list(cluster, name, version)
        case ("openapi", *rest):
            return _openapi(cluster, rest, accept)
    if found is None:
        raise no_such_path()
    return answer(found)


def _openapi(cluster: Cluster, parts: Sequence[str], accept: str) -> Response:
    found: Document | None = None
    match parts:
        case ["v2"] if "proto-openapi" in accept:
            return Response(200, openapi.encoded(_swagger(cluster)), openapi.PROTOBUF)
        case ["v2"]:
            found = _swagger(cluster)
        case ["v3"]:
            found = openapi_index(cluster)
        case ["v3", "api", version]:
            found = openapi_v3(cluster, "", version)
        case ["v3", "apis", name, version]:
            found = openapi_v3(cluster, name, version)
    if found is None:
        raise no_such_path()
    return answer(found)


def _verbs(resource: Resource) -> list[str]:
    """The verbs that a client may count on; those of a kind that is being taken away make and change nothing."""
    return [verb for verb in resource.verbs if not resource.terminating or verb not in _CHANGES]


def _groups(cluster: Cluster) -> dict[str, dict[str, list[Resource]]]:
    """Resources by group and version, versions in order of preference."""
    groups: dict[str, dict[str, list[Resource]]] = {}
    for resource in cluster.resources():
        for version in resource.versions:
            groups.setdefault(resource.group, {}).setdefault(version, []).append(resource)
    return {
        name: dict(sorted(versions.items(), key=lambda item: version_priority(item[0])))
        for name, versions in groups.items()
    }


def aggregated(cluster: Cluster, *, core: bool) -> Document:
    """APIGroupDiscoveryList v2 of the core group or of all the others."""
    items = [
        {
            "metadata": {"name": group, "creationTimestamp": None},
            "versions": [
                {"version": version, "freshness": "Current", "resources": [_aggregated(r, version) for r in resources]}
                for version, resources in versions.items()
            ],
        }
        for group, versions in _groups(cluster).items()
        if (group == "") is core
    ]
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _subresources(resource: Resource, name: str) -> dict[str, Document]:
    """The kinds of the subresources of a version."""
    version = resource.versions[name]
    status = {"status": {"group": resource.group, "version": name, "kind": resource.kind}} if version.status else {}
    return {**status, **({"scale": _SCALE} if version.scale else {})}


def _aggregated(resource: Resource, name: str) -> Document:
    subresources = [
        {"subresource": each, "responseKind": kind, "verbs": _STATUS_VERBS}
        for each, kind in _subresources(resource, name).items()
    ]
    return {
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": name, "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": _verbs(resource),
        **({"shortNames": resource.short_names} if resource.short_names else {}),
        **({"categories": resource.categories} if resource.categories else {}),
        **({"subresources": subresources} if subresources else {}),
    }


def group_list(cluster: Cluster) -> Document:
    groups = [_group(group, versions) for group, versions in _groups(cluster).items() if group]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(cluster: Cluster, name: str) -> Document | None:
    versions = _groups(cluster).get(name)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)} if versions else None


def _group(name: str, versions: Iterable[str]) -> Document:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def resource_list(cluster: Cluster, group_name: str, version: str) -> Document | None:
    resources = _groups(cluster).get(group_name, {}).get(version)
    if not resources:
        return None
    listed = [item for resource in resources for item in _legacy(resource, version)]
    group_version = f"{group_name}/{version}" if group_name else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": listed}


def _legacy(resource: Resource, name: str) -> list[Document]:
    base: Document = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": _verbs(resource),
        "shortNames": resource.short_names,
        "categories": resource.categories,
    }
    part = {"singularName": "", "namespaced": resource.namespaced, "verbs": _STATUS_VERBS}
    inner = _subresources(resource, name).items()
    return [base, *({"name": f"{resource.plural}/{each}", **kind, **part} for each, kind in inner)]


def openapi_index(cluster: Cluster) -> Document:
    """Where the document of each group version is; the hash lets clients cache it."""
    paths = {}
    for group_name, versions in _groups(cluster).items():
        for version in versions:
            path = f"apis/{group_name}/{version}" if group_name else f"api/{version}"
            digest = hashlib.sha256(msgspec.json.encode(openapi_v3(cluster, group_name, version))).hexdigest()
            paths[path] = {"serverRelativeURL": f"/clusters/{cluster.name}/openapi/v3/{path}?hash={digest[:32]}"}
    return {"paths": paths}


def openapi_v3(cluster: Cluster, group_name: str, version: str) -> Document | None:
    """Enough for kubectl's explain, and for it to know that the server validates fields."""
    resources = _groups(cluster).get(group_name, {}).get(version)
    if not resources:
        return None
    schemas, paths = {}, {}
    for resource in resources:
        kind, name = _kind(resource, version), _definition_name(resource, version)
        schemas[name] = {**resource.versions[version].schema.structure, "x-kubernetes-group-version-kind": [kind]}
        parameters = [
            {"name": parameter, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
            for parameter in ("dryRun", "fieldManager", "fieldValidation", "force")
        ]
        answer = {"200": {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}}}
        patch = {"parameters": parameters, "responses": answer, "x-kubernetes-group-version-kind": kind}
        paths[_path(resource, version)] = {
            method: {**patch, "x-kubernetes-action": method} for method in ("get", "put", "patch", "delete")
        }
    info = {"title": "Moorage sandbox", "version": str(VERSION["gitVersion"])}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


def _swagger(cluster: Cluster) -> Document:
    """OpenAPI v2 of all that is served."""
    versions = [(resource, version) for resource in cluster.resources() for version in resource.versions]
    kinds = [
        (
            _definition_name(resource, version),
            _path(resource, version),
            _kind(resource, version),
            resource.versions[version].schema.structure,
        )
        for resource, version in versions
    ]
    return openapi.document(str(VERSION["gitVersion"]), kinds)


def _kind(resource: Resource, version: str) -> Document:
    return {"group": resource.group, "version": version, "kind": resource.kind}


def _path(resource: Resource, version: str) -> str:
    """The path of one object, as OpenAPI writes it."""
    prefix = f"/apis/{resource.group}/{version}" if resource.group else f"/api/{version}"
    namespace = "/namespaces/{namespace}" if resource.namespaced else ""
    return f"{prefix}{namespace}/{resource.plural}/{{name}}"


def _definition_name(resource: Resource, version: str) -> str:
    return ".".join([*_definition_prefix(resource), version, resource.kind])


def _definition_prefix(resource: Resource) -> list[str]:
    """How schemas are named: reversed domains, but for the kinds of Kubernetes itself."""
    if resource.custom or resource.group.endswith("kcp.io"):
        return [*reversed(resource.group.split("."))]
    return ["io", "k8s", "api", (resource.group or "core").partition(".")[0]]
