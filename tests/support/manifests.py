"""Kubernetes objects for tests, as manifests have them."""

from typing import Any


def obj(
    kind: str, api_version: str = "v1", /, *, name: str = "web", namespace: str = "shop", **fields: Any
) -> dict[str, Any]:
    """An object of a name, with these fields; without a namespace where that is empty."""
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}


def condition(status: dict[str, Any], type: str) -> dict[str, Any]:
    """The condition of that type in a status; empty where there is none."""
    return next((each for each in status.get("conditions", ()) if each["type"] == type), {})
