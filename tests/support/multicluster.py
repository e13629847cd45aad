"""SIG Multicluster's PlacementDecision as KEP-5313 has it, as far as it says what is valid."""

from typing import Any

_TEXT = {"type": "string"}
_ENTRY = {
    "type": "object",
    "required": ["clusterProfileRef"],
    "properties": {
        "clusterProfileRef": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string", "minLength": 1}, "namespace": _TEXT},
        },
        "reason": _TEXT,
    },
}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["decisions"],
    "properties": {
        "apiVersion": _TEXT,
        "kind": _TEXT,
        "metadata": {"type": "object"},
        "schedulerName": _TEXT,
        "decisions": {"type": "array", "maxItems": 100, "items": _ENTRY},
    },
}

CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "placementdecisions.multicluster.x-k8s.io"},
    "spec": {
        "group": "multicluster.x-k8s.io",
        "scope": "Namespaced",
        "names": {"plural": "placementdecisions", "singular": "placementdecision", "kind": "PlacementDecision"},
        "versions": [
            {"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": SCHEMA}},
        ],
    },
}
