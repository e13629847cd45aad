"""The kinds that are served without a CustomResourceDefinition, as data.

Schemas are partial: they name what must be there, what is defaulted, and the keys by which lists are
merged. Anything else passes. `WORKLOADS` can be served by CRDs too (see `definition`), as kcp does.
"""

from typing import Any

import msgspec

from services.sandbox.errors import Document
from services.sandbox.resources import ALL_VERBS, Column, Resource, Version
from services.sandbox.schema import compile_schema

REVIEW_VERBS = ("create",)
ANY: Document = {"x-kubernetes-preserve-unknown-fields": True}
STRINGS: Document = {"type": "object", "additionalProperties": {"type": "string"}}


def _object(required: tuple[str, ...] = (), default: Any = None, **properties: Any) -> Document:
    schema: Document = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": properties}
    if required:
        schema["required"] = list(required)
    if default is not None:
        schema["default"] = default
    return schema


def _closed(**properties: Any) -> Document:
    """An object of these fields and no others."""
    return {"type": "object", "properties": properties}


def _keyed(*keys: str, default: Document | None = None, **properties: Any) -> Document:
    """A list merged by keys; those with a default are not required of the items."""
    fields = {key: _or(value) for key, value in (default or {}).items()}
    return {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": list(keys),
        "items": _object(tuple(key for key in keys if key not in fields), **fields, **properties),
    }


def _set() -> Document:
    return {"type": "array", "x-kubernetes-list-type": "set", "items": ANY}


def _or(default: Any) -> Document:
    return {"default": default, "x-kubernetes-preserve-unknown-fields": True}


ATOMIC: Document = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "x-kubernetes-map-type": "atomic"}
FLAG: Document = {"type": "boolean"}
COUNT: Document = {"type": "integer", "minimum": 0}
CONDITIONS = _keyed("type")
CONTAINERS = _keyed(
    "name",
    default={"imagePullPolicy": "IfNotPresent"},
    ports=_keyed("containerPort", "protocol", default={"protocol": "TCP"}),
    env=_keyed("name", valueFrom=ATOMIC),
    volumeMounts=_keyed("mountPath"),
    volumeDevices=_keyed("devicePath"),
    resources=_object(limits=_object(), requests=_object()),
)
POD_SPEC = _object(
    ("containers",),
    containers=CONTAINERS,
    initContainers=CONTAINERS,
    volumes=_keyed("name"),
    imagePullSecrets=_keyed("name"),
    hostAliases=_keyed("ip"),
    topologySpreadConstraints=_keyed("topologyKey", "whenUnsatisfiable"),
    nodeSelector=ATOMIC,
    restartPolicy=_or("Always"),
    dnsPolicy=_or("ClusterFirst"),
    schedulerName=_or("default-scheduler"),
    terminationGracePeriodSeconds=_or(30),
)
TEMPLATE = _object(("spec",), spec=POD_SPEC)
JOB_SPEC = _object(
    ("template",),
    template=TEMPLATE,
    selector=ATOMIC,
    parallelism=_or(1),
    completions=_or(1),
    backoffLimit=_or(6),
    suspend=_or(False),
)
STATUS = _object(conditions=CONDITIONS)


def _workload(**more: Any) -> Document:
    return _object(
        ("spec",), status=STATUS, spec=_object(("selector", "template"), selector=ATOMIC, template=TEMPLATE, **more)
    )


REPLICAS = {**COUNT, "default": 1}
ROLLING = _or({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
DEPLOYMENT = _workload(
    replicas=REPLICAS, strategy=ROLLING, revisionHistoryLimit=_or(10), progressDeadlineSeconds=_or(600)
)
STATEFUL_SET = _workload(replicas=REPLICAS, podManagementPolicy=_or("OrderedReady"), revisionHistoryLimit=_or(10))
SERVICE = _object(
    spec=_object(
        ports=_keyed("port", "protocol", default={"protocol": "TCP"}),
        selector=ATOMIC,
        type=_or("ClusterIP"),
        sessionAffinity=_or("None"),
        internalTrafficPolicy=_or("Cluster"),
    ),
    status=_object(conditions=CONDITIONS, loadBalancer=ATOMIC),
)
RULES = _object(rules={"type": "array", "items": _object(("verbs",))})
BINDING = _object(("roleRef",), roleRef=ATOMIC, subjects={"type": "array", "items": _object(("kind", "name"))})
STRING: Document = {"type": "string"}
EXPORT = _object(("name",), name=STRING, path=STRING)
CLAIM = {"group": STRING, "resource": STRING, "verbs": {"type": "array", "items": STRING, "minItems": 1}}
CLAIMS = {"type": "array", "items": _object(("resource", "verbs"), **CLAIM)}
# kcp can also let an export see by labels; here a claim covers all objects or none.
SELECTOR = _object(("matchAll",), matchAll={"type": "boolean", "enum": [True]})
STATE = {"type": "string", "enum": ["Accepted", "Rejected"]}
ACCEPTED = {
    "type": "array",
    "items": _object(("resource", "verbs", "state", "selector"), **CLAIM, state=STATE, selector=SELECTOR),
}
REPLICA_PATHS = (".spec.replicas", ".status.replicas", ".status.selector")


def _columns(text: str) -> tuple[Column, ...]:
    """`Name:.json.path` separated by blanks; a leading `+` marks a wide column."""
    columns = []
    for item in text.split():
        name, _, path = item.lstrip("+").partition(":")
        column_type = "date" if path.endswith("Timestamp") else "integer" if name.islower() else "string"
        columns.append(Column(name.capitalize(), column_type, path, priority=int(item.startswith("+"))))
    return tuple(columns)


AGE = " Age:.metadata.creationTimestamp"


def _resource(
    group_version: str,
    kind: str,
    plural: str = "",
    *,
    schema: Document | None = None,
    short: str = "",
    namespaced: bool = True,
    columns: str = "",
    status: bool = False,
    scale: bool = False,
    verbs: tuple[str, ...] = ALL_VERBS,
    categories: str = "",
    selectable: tuple[str, ...] = (),
) -> Resource:
    group, _, name = group_version.rpartition("/")
    version = Version(
        name=name,
        schema=compile_schema(msgspec.json.encode(schema or _object())),
        columns=_columns(columns + AGE),
        status=status,
        scale=REPLICA_PATHS if scale else None,
        selectable=selectable,
    )
    return Resource(
        group=group,
        plural=plural or kind.lower() + "s",
        kind=kind,
        versions={name: version},
        storage=name,
        namespaced=namespaced,
        singular=kind.lower(),
        short_names=tuple(short.split()),
        categories=tuple(categories.split()),
        verbs=verbs,
    )


_RBAC, _AUTHORIZATION = "rbac.authorization.k8s.io/v1", "authorization.k8s.io/v1"
CORE: tuple[Resource, ...] = (
    _resource(
        "v1",
        "Namespace",
        namespaced=False,
        short="ns",
        status=True,
        selectable=("status.phase",),
        columns="Status:.status.phase",
    ),
    _resource("v1", "ConfigMap", short="cm", schema=_closed(data=STRINGS, binaryData=STRINGS, immutable=FLAG)),
    _resource(
        "v1",
        "Secret",
        columns="Type:.type",
        selectable=("type",),
        schema=_closed(data=STRINGS, stringData=STRINGS, immutable=FLAG, type={"type": "string", "default": "Opaque"}),
    ),
    _resource("v1", "ServiceAccount", short="sa", schema=_object(secrets=_keyed("name"))),
    _resource(
        "v1",
        "Event",
        short="ev",
        selectable=(
            "involvedObject.kind",
            "involvedObject.name",
            "involvedObject.namespace",
            "involvedObject.uid",
            "reason",
            "type",
        ),
        columns="Type:.type Reason:.reason Object:.involvedObject.name Message:.message",
    ),
    _resource(_RBAC, "ClusterRole", namespaced=False, schema=RULES),
    _resource(_RBAC, "ClusterRoleBinding", namespaced=False, schema=BINDING, columns="Role:.roleRef.name"),
    _resource(_RBAC, "Role", schema=RULES),
    _resource(_RBAC, "RoleBinding", schema=BINDING, columns="Role:.roleRef.name"),
    _resource(_AUTHORIZATION, "SubjectAccessReview", namespaced=False, verbs=REVIEW_VERBS),
    _resource(_AUTHORIZATION, "SelfSubjectAccessReview", namespaced=False, verbs=REVIEW_VERBS),
    _resource(_AUTHORIZATION, "LocalSubjectAccessReview", verbs=REVIEW_VERBS),
    _resource(_AUTHORIZATION, "SelfSubjectRulesReview", namespaced=False, verbs=REVIEW_VERBS),
    _resource("authentication.k8s.io/v1", "SelfSubjectReview", namespaced=False, verbs=REVIEW_VERBS),
    _resource(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        namespaced=False,
        short="crd crds",
        status=True,
        schema=_object(
            ("spec",),
            status=STATUS,
            spec=_object(("group", "names", "scope", "versions"), versions=_keyed("name"), names=_object()),
        ),
        categories="api-extensions",
    ),
    _resource("coordination.k8s.io/v1", "Lease", columns="Holder:.spec.holderIdentity"),
)
_KCP = "apis.kcp.io/v1alpha1"
TENANCY: tuple[Resource, ...] = (
    _resource(_KCP, "APIResourceSchema", namespaced=False, schema=_object(("spec",), spec=_object())),
    _resource(
        "apis.kcp.io/v1alpha2",
        "APIExport",
        namespaced=False,
        status=True,
        schema=_object(
            spec=_object(
                default={}, resources={"type": "array", "items": _object(("name", "schema"))}, permissionClaims=CLAIMS
            ),
            status=STATUS,
        ),
    ),
    _resource(
        "apis.kcp.io/v1alpha2",
        "APIBinding",
        namespaced=False,
        status=True,
        columns="Export:.spec.reference.export.name Phase:.status.phase",
        schema=_object(
            ("spec",),
            spec=_object(("reference",), reference=_object(("export",), export=EXPORT), permissionClaims=ACCEPTED),
            status=STATUS,
        ),
    ),
    _resource(
        _KCP,
        "APIExportEndpointSlice",
        namespaced=False,
        status=True,
        schema=_object(("spec",), spec=_object(("export",), export=EXPORT), status=STATUS),
    ),
    _resource(
        "tenancy.kcp.io/v1alpha1",
        "Workspace",
        namespaced=False,
        short="ws",
        status=True,
        columns="Type:.spec.type.name Phase:.status.phase URL:.spec.URL",
        schema=_object(spec=_object(type=_or({"name": "universal", "path": "root"}), default={}), status=STATUS),
    ),
    _resource(
        "core.kcp.io/v1alpha1",
        "LogicalCluster",
        namespaced=False,
        status=True,
        columns="Phase:.status.phase URL:.status.URL",
    ),
)
_READY = "Ready:.status.readyReplicas Desired:.spec.replicas Available:.status.availableReplicas"
WORKLOADS: tuple[Resource, ...] = (
    _resource(
        "apps/v1", "Deployment", short="deploy", schema=DEPLOYMENT, status=True, scale=True, columns=_READY,
        categories="all",
    ),
    _resource(
        "apps/v1", "StatefulSet", short="sts", schema=STATEFUL_SET, status=True, scale=True, columns=_READY,
        categories="all",
    ),
    _resource(
        "apps/v1", "DaemonSet", short="ds", schema=_workload(), status=True, categories="all",
        columns="Desired:.status.desiredNumberScheduled Ready:.status.numberReady",
    ),
    _resource(
        "apps/v1", "ReplicaSet", short="rs", schema=_workload(replicas=REPLICAS), status=True, scale=True,
        columns=_READY, categories="all",
    ),
    _resource(
        "batch/v1", "Job", schema=_object(("spec",), spec=JOB_SPEC, status=STATUS), status=True, categories="all",
        columns="Completions:.spec.completions Succeeded:.status.succeeded",
    ),
    _resource(
        "batch/v1", "CronJob", short="cj", status=True, columns="Schedule:.spec.schedule Suspend:.spec.suspend",
        schema=_object(("spec",), spec=_object(("schedule", "jobTemplate"), jobTemplate=_object(spec=JOB_SPEC))),
        categories="all",
    ),
    _resource(
        "v1", "Pod", short="po", status=True, columns="Status:.status.phase +Node:.spec.nodeName", categories="all",
        selectable=("spec.nodeName", "status.phase"),
        schema=_object(("spec",), spec=POD_SPEC, status=STATUS),
    ),
    _resource(
        "v1", "Service", short="svc", schema=SERVICE, status=True, categories="all",
        columns="Type:.spec.type Cluster-IP:.spec.clusterIP Ports:.spec.ports[*].port",
    ),
    _resource(
        "v1", "PersistentVolumeClaim", short="pvc", status=True, columns="Status:.status.phase",
        schema=_object(("spec",), spec=_object(accessModes=_set(), resources=_object()), status=STATUS),
    ),
    _resource("v1", "Node", namespaced=False, short="no", status=True, schema=_object(
        spec=_object(taints={"type": "array", "items": _object(("key", "effect"))}),
        status=_object(conditions=CONDITIONS, addresses=_keyed("type")),
    ), columns="Version:.status.nodeInfo.kubeletVersion"),
    _resource(
        "networking.k8s.io/v1", "Ingress", "ingresses", short="ing", status=True,
        columns="Class:.spec.ingressClassName Hosts:.spec.rules[*].host",
    ),
    _resource(
        "policy/v1", "PodDisruptionBudget", short="pdb", status=True,
        schema=_object(spec=_object(selector=ATOMIC), status=STATUS),
    ),
)  # fmt: skip


def definition(resource: Resource) -> Document:
    """A CustomResourceDefinition that serves a workload kind in a workspace, as kcp has it.

    kcp allows the core group there, in a definition named `<plural>.core`.
    """
    version = resource.versions[resource.storage]
    subresources: Document = {"status": {}} if version.status else {}
    if version.scale:
        subresources["scale"] = {"specReplicasPath": version.scale[0], "statusReplicasPath": version.scale[1]}
    columns = [
        {"name": column.name, "type": column.type, "jsonPath": column.path, "priority": column.priority}
        for column in version.columns
    ]
    structure = {**version.schema.structure, "properties": dict(version.schema.structure["properties"])}
    structure["properties"]["metadata"] = {"type": "object"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{resource.group or 'core'}"},
        "spec": {
            "group": resource.group,
            "names": {
                "plural": resource.plural,
                "singular": resource.singular,
                "kind": resource.kind,
                "shortNames": list(resource.short_names),
                "categories": list(resource.categories),
            },
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "versions": [
                {
                    "name": version.name,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": structure},
                    "subresources": subresources,
                    "additionalPrinterColumns": columns,
                }
            ],
        },
    }
