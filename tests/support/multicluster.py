"""SIG Multicluster's PlacementDecision and ClusterProfile as KEP-5313 and KEP-4322 have them, as far as these say what
is valid."""

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

_PROPERTY = {
    "type": "object",
    "required": ["name", "value"],
    "properties": {"name": _TEXT, "value": _TEXT, "lastObservedTime": {**_TEXT, "format": "date-time"}},
}
_ACCESS = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": _TEXT,
        "cluster": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}

PROFILE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "apiVersion": _TEXT,
        "kind": _TEXT,
        "metadata": {"type": "object"},
        "spec": {
            "type": "object",
            "required": ["clusterManager"],
            "properties": {
                "displayName": _TEXT,
                "clusterManager": {"type": "object", "required": ["name"], "properties": {"name": _TEXT}},
            },
        },
        "status": {
            "type": "object",
            "properties": {
                "version": {"type": "object", "properties": {"kubernetes": _TEXT}},
                "properties": {"type": "array", "items": _PROPERTY},
                "accessProviders": {"type": "array", "items": _ACCESS},
                "conditions": {
                    "type": "array",
                    "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                },
            },
        },
    },
}

PROFILE_CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "clusterprofiles.multicluster.x-k8s.io"},
    "spec": {
        "group": "multicluster.x-k8s.io",
        "scope": "Namespaced",
        "names": {"plural": "clusterprofiles", "singular": "clusterprofile", "kind": "ClusterProfile"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": PROFILE_SCHEMA},
                "subresources": {"status": {}},
            },
        ],
    },
}
