"""A kind of our own with everything that a CustomResourceDefinition can say and Moorage, kubectl or kcp rely on."""

from pathlib import Path
from typing import Any

from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import CRDS, Resource
from tests.conformance.api import until

GROUP = "conformance.moorage.io"
WIDGETS = Resource(GROUP, "v1", "widgets", kind="Widget")
OLD_WIDGETS = Resource(GROUP, "v1beta1", "widgets", kind="Widget")

_LISTENERS = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["port", "protocol"],
    "items": {
        "type": "object",
        "required": ["port"],
        "properties": {
            "port": {"type": "integer", "format": "int32"},
            "protocol": {"type": "string", "default": "TCP"},
            "name": {"type": "string"},
        },
    },
}
_CONDITIONS = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["type"],
    "items": {
        "type": "object",
        "required": ["type", "status"],
        "properties": {
            "type": {"type": "string"},
            "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
            "message": {"type": "string"},
        },
    },
}
_SPEC = {
    "type": "object",
    "properties": {
        "size": {"type": "integer", "minimum": 0, "maximum": 100, "default": 1},
        "color": {"type": "string", "enum": ["red", "green", "blue"]},
        "code": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 8},
        "fixed": {
            "type": "string",
            "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "fixed cannot be changed"}],
        },
        "min": {"type": "integer"},
        "max": {"type": "integer"},
        "replicas": {"type": "integer", "default": 1},
        "note": {"type": "string", "nullable": True},
        "amount": {"x-kubernetes-int-or-string": True},
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "steps": {"type": "array", "x-kubernetes-list-type": "atomic", "items": {"type": "string"}},
        "listeners": _LISTENERS,
        "options": {"type": "object", "additionalProperties": {"type": "string"}},
        "selector": {
            "type": "object",
            "x-kubernetes-map-type": "atomic",
            "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        },
        "deep": {
            "type": "object",
            "default": {},
            "properties": {"level": {"type": "string", "default": "low"}, "other": {"type": "string"}},
        },
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
    "x-kubernetes-validations": [
        {
            "rule": "!has(self.min) || !has(self.max) || self.min <= self.max",
            "message": "min must not exceed max",
        },
        {
            "rule": "!has(self.code) || self.code != 'taken'",
            "messageExpression": "'code ' + self.code + ' is not free'",
            "reason": "FieldValueForbidden",
            "fieldPath": ".code",
        },
    ],
}
_SCHEMA = {
    "type": "object",
    "description": "A widget, for tests.",
    "required": ["spec"],
    "properties": {
        "spec": _SPEC,
        "status": {
            "type": "object",
            "properties": {
                "phase": {"type": "string"},
                "replicas": {"type": "integer"},
                "selector": {"type": "string"},
                "conditions": _CONDITIONS,
            },
        },
    },
}


def _version(name: str, *, storage: bool) -> dict[str, Any]:
    return {
        "name": name,
        "served": True,
        "storage": storage,
        "schema": {"openAPIV3Schema": _SCHEMA},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "selectableFields": [{"jsonPath": ".spec.color"}],
        "additionalPrinterColumns": [
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size", "description": "How large it is."},
            {"name": "Color", "type": "string", "jsonPath": ".spec.color", "priority": 1},
            {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ],
    }


def definition() -> dict[str, Any]:
    """The CustomResourceDefinition of Widget."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "plural": "widgets",
                "singular": "widget",
                "kind": "Widget",
                "listKind": "WidgetList",
                "shortNames": ["wd"],
                "categories": ["conformance"],
            },
            "scope": "Namespaced",
            "versions": [_version("v1", storage=True), _version("v1beta1", storage=False)],
        },
    }


def widget(name: str, namespace: str, **spec: Any) -> dict[str, Any]:
    """A Widget."""
    return {
        "apiVersion": WIDGETS.api_version,
        "kind": WIDGETS.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


async def install(kubeconfig: Path) -> None:
    """Serve widgets, unless the server does so already; returns once they are served."""
    async with Client(load_kubeconfig(kubeconfig), timeout=30) as admin:
        await admin.apply(CRDS, definition(), force=True)

        async def served() -> bool:
            found = await admin.get(CRDS, f"widgets.{GROUP}")
            told = {each["type"]: each["status"] for each in (found.get("status") or {}).get("conditions") or ()}
            if told.get("Established") != "True":
                return False
            try:
                await admin.list(WIDGETS)
                await admin.list(OLD_WIDGETS)
            except ApiError as error:
                if error.not_found or error.transient:
                    return False
                raise
            return True

        await until(served, "widgets are served")
