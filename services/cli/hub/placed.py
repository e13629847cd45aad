"""What is on a hub of placements: their objects, their decisions, and what they select, as manifests."""

import contextlib
from collections.abc import Iterable
from typing import Any

from shared.hub.hub import Hub
from shared.hub.resources import DECISIONS, OVERRIDES, PLACEMENTS, WORKLOAD_KINDS
from shared.hub.selecting import COMMON
from shared.kube.apis import RestMapper, UnknownKind
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import NAMESPACES, Resource

PATH_ANNOTATION = "kcp.io/path"

Manifest = dict[str, Any]


async def placed(hub: Hub, workspace: str) -> tuple[list[Manifest], list[Manifest]]:
    """The Placements of a workspace with what they select, overrides and namespaces; and their decisions. Each says the
    path of the workspace.

    Nothing is there in a workspace without our kinds. What is selected and not there, or of a kind that is not served,
    is left out. Raises KubeError.
    """
    client = hub.at(workspace)
    try:
        placements = await _all(client, PLACEMENTS, workspace)
        decisions = await _all(client, DECISIONS, workspace)
        kinds = await _all(client, WORKLOAD_KINDS, workspace)
        overrides = await _all(client, OVERRIDES, workspace)
    except ApiError as error:
        if error.not_found:
            return [], []
        raise
    namespaces: list[Manifest] = []
    with contextlib.suppress(ApiError):  # who may not read them plans as if each policy by their labels held
        namespaces = await _all(client, NAMESPACES, workspace)
    mapper = RestMapper(client)
    objects: list[Manifest] = []
    for api_version, kind, namespace in sorted(_selected(placements)):
        try:
            resource = await mapper.resource(api_version, kind)
        except UnknownKind:
            continue
        objects += await _all(client, resource, workspace, namespace if resource.namespaced else "")
    return [*placements, *objects, *kinds, *overrides, *namespaces], decisions


def _selected(placements: Iterable[Manifest]) -> set[tuple[str, str, str]]:
    """apiVersion, kind and namespace of all that is selected."""
    return {
        (*kind, placement["metadata"].get("namespace", ""))
        for placement in placements
        for each in (placement.get("spec") or {}).get("workload") or ()
        for kind in (COMMON if each.get("all") else [(str(each.get("apiVersion", "")), str(each.get("kind", "")))])
    }


async def _all(client: Client, resource: Resource, workspace: str, namespace: str = "") -> list[Manifest]:
    page = await client.list(resource, namespace)
    return [_located(each, resource, workspace) for each in page.items]


def _located(obj: Manifest, resource: Resource, workspace: str) -> Manifest:
    """An object of a list as it would stand in a file: with its kind, and where it lives."""
    metadata = obj["metadata"]
    annotations = {**(metadata.get("annotations") or {}), PATH_ANNOTATION: workspace}
    identity = {"apiVersion": resource.api_version, "kind": resource.kind}
    return {**obj, **identity, "metadata": {**metadata, "annotations": annotations}}
