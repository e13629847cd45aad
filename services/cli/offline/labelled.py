"""The labels of workspaces and namespaces on paper, by which policies choose placements."""

from collections.abc import Iterable, Mapping

from services.cli.offline.objects import Manifest, labels_of, name_of, workspace_of
from shared.hub.holding import goes_by_namespaces, goes_by_workspaces, labels_above, reaches
from shared.hub.resources import WORKSPACES
from shared.kube.resources import NAMESPACES
from shared.model.policy import PolicyEntry
from shared.model.refs import PlacementRef
from shared.model.request import Request, ScopeLabels
from shared.model.target import Workspace

Namespaces = Mapping[tuple[str, str], dict[str, str]]
"""The labels of namespaces, by workspace and name."""


def workspaces_in(manifests: Iterable[Manifest]) -> dict[str, Workspace]:
    """The Workspaces among manifests by path: each is below the workspace that it says it lives in."""
    found = {}
    for each in manifests:
        if each["kind"] == WORKSPACES.kind and str(each.get("apiVersion", "")).partition("/")[0] == WORKSPACES.group:
            path = ":".join(filter(None, (workspace_of(each), name_of(each)[1])))
            found[path] = Workspace(path=path, labels=labels_of(each))
    return found


def namespaces_in(manifests: Iterable[Manifest]) -> dict[tuple[str, str], dict[str, str]]:
    """The labels of the Namespaces among manifests."""
    return {
        (workspace_of(each), name_of(each)[1]): labels_of(each)
        for each in manifests
        if (each.get("apiVersion"), each["kind"]) == (NAMESPACES.api_version, NAMESPACES.kind)
    }


def scope_labels(ref: PlacementRef, workspaces: Mapping[str, Workspace], namespaces: Namespaces) -> ScopeLabels:
    """The labels by which policies may choose a placement, as far as they are known."""
    return ScopeLabels(
        workspaces=labels_above(ref.workspace, workspaces.get), namespace=namespaces.get((ref.workspace, ref.namespace))
    )


def unknown(requests: Iterable[Request], policies: Iterable[PolicyEntry]) -> list[str]:
    """Sentences on whose labels policies go by and nobody knows, so that these policies count as holding."""
    lacking: dict[str, None] = {}
    policies = list(policies)
    for request in requests:
        ref, labels = request.placement, request.scope_labels
        reaching = [each for each in policies if reaches(each.workspace, ref.workspace)]
        if goes_by_namespaces(reaching) and labels.namespace is None:
            lacking[f"namespace {ref.namespace}" + (f" of {ref.workspace}" if ref.workspace else "")] = None
        if goes_by_workspaces(reaching) and ref.workspace not in labels.workspaces:
            lacking[f"workspace {ref.workspace}" if ref.workspace else "workspaces"] = None
    return [f"the labels of {each} are not known: policies that go by them count as if they held" for each in lacking]
