"""Kueue's kinds, as far as its API says what is valid, and Workloads as Kueue leaves them for a dispatcher."""

from typing import Any

from shared.kube.client import Client
from shared.kube.resources import Resource

GROUP, VERSION = "kueue.x-k8s.io", "v1beta2"
WORKLOADS = Resource(GROUP, VERSION, "workloads", kind="Workload")
CHECKS = Resource(GROUP, VERSION, "admissionchecks", namespaced=False, kind="AdmissionCheck")
CONFIGS = Resource(GROUP, VERSION, "multikueueconfigs", namespaced=False, kind="MultiKueueConfig")
KUEUE = "kueue-admission"
SINCE = "2026-11-29T10:00:00Z"

_ANY = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def _by(key: str) -> dict[str, Any]:
    items = {**_ANY, "required": [key], "properties": {key: {"type": "string"}}}
    return {"type": "array", "items": items, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


_STATUS = {
    "type": "object",
    "properties": {
        "conditions": _by("type"),
        "admissionChecks": _by("name"),
        "admission": _ANY,
        "clusterName": {"type": "string", "maxLength": 256},
        "nominatedClusterNames": {
            "type": "array",
            "maxItems": 10,
            "items": {"type": "string", "maxLength": 256},
            "x-kubernetes-list-type": "atomic",
        },
    },
    "x-kubernetes-validations": [
        {
            "rule": "!has(self.clusterName) || !has(self.nominatedClusterNames)"
            " || size(self.nominatedClusterNames) == 0",
            "message": "clusterName and nominatedClusterNames are mutually exclusive",
        }
    ],
}


def _definition(resource: Resource, **parts: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"spec": _ANY, **parts}}
    version = {"name": VERSION, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": resource.plural, "singular": resource.kind.lower(), "kind": resource.kind}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": resource.name},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "names": names,
            "versions": [{**version, "subresources": {"status": {}}} if parts else version],
        },
    }


CRDS = [_definition(WORKLOADS, status=_STATUS), _definition(CHECKS), _definition(CONFIGS)]


def configuration(clusters: list[str]) -> list[tuple[Resource, dict[str, Any]]]:
    """The admission check `multi`, and which clusters it is for."""
    parameters = {"apiGroup": GROUP, "kind": CONFIGS.kind, "name": "all"}
    specs = [
        (CONFIGS, "all", {"clusters": clusters}),
        (CHECKS, "multi", {"controllerName": "kueue.x-k8s.io/multikueue", "parameters": parameters}),
    ]
    return [
        (kind, {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}, "spec": spec})
        for kind, name, spec in specs
    ]


def workload(name: str, namespace: str, cpu: str, pods: int = 1) -> dict[str, Any]:
    """A Workload of so many equal pods."""
    container = {
        "name": "c",
        "image": "i",
        "resources": {"requests": {"cpu": cpu}},
        "env": [{"name": "A", "value": "b"}],
    }
    template = {"spec": {"containers": [container], "restartPolicy": "Never"}}
    spec = {"queueName": "users", "podSets": [{"name": "main", "count": pods, "template": template}]}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": WORKLOADS.api_version, "kind": WORKLOADS.kind, "metadata": metadata, "spec": spec}


def admitted(obj: dict[str, Any], **status: Any) -> dict[str, Any]:
    """What Kueue applies to the status of a Workload once it has its quota."""
    reserved = {
        "type": "QuotaReserved",
        "status": "True",
        "reason": "QuotaReserved",
        "message": "",
        "lastTransitionTime": SINCE,
    }
    check = {"name": "multi", "state": "Pending", "message": "", "lastTransitionTime": SINCE}
    said = {"conditions": [reserved], "admissionChecks": [check], "admission": {"clusterQueue": "all"}}
    head = {name: obj[name] for name in ("apiVersion", "kind", "metadata")}
    return {**head, "status": {**said, **status}}


async def submit(client: Client, obj: dict[str, Any]) -> None:
    """Have a Workload wait for clusters to be nominated."""
    await client.create(WORKLOADS, obj)
    await client.apply(WORKLOADS, admitted(obj), field_manager=KUEUE, force=True, subresource="status")
