"""Objects without a namespace: which are never placed, what of others reaches too far, and what definitions bring.

Pure. Such objects belong to the whole cluster, so that a target takes them only where its owner lists their kind. What
is refused here is refused whatever its owner lists: it would reach beyond the kind.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from shared.kube.resources import group_of

DEFINITION: Final = ("apiextensions.k8s.io", "CustomResourceDefinition")
_RBAC: Final = "rbac.authorization.k8s.io"

# Namespaces are made and claimed by us. The others stand for the machines of a cluster, give identities, or put a
# server of the tenant's in the place of the cluster's own APIs.
_NEVER: Final = frozenset(
    {
        ("", "Namespace"),
        ("", "Node"),
        ("apiregistration.k8s.io", "APIService"),
        ("certificates.k8s.io", "CertificateSigningRequest"),
        ("certificates.k8s.io", "ClusterTrustBundle"),
    }
)
_OUR_GROUP: Final = "moorage.io"
_KUBERNETES: Final = ("k8s.io", "kubernetes.io")


class Brought(NamedTuple):
    """A kind that a CustomResourceDefinition serves, and the versions that are served."""

    group: str
    kind: str
    namespaced: bool
    versions: tuple[str, ...]


def is_definition(api_version: str, kind: str) -> bool:
    return (group_of(api_version), kind) == DEFINITION


def is_never_placed(api_version: str, kind: str) -> bool:
    """Whether a kind is placed nowhere, whatever the owner of a target lists."""
    return (group_of(api_version), kind) in _NEVER


def overreach(obj: Mapping[str, Any]) -> str:
    """Why an object is placed nowhere, in the words that follow its name; empty where it may be."""
    metadata = _mapping(obj, "metadata")
    name, kind = str(metadata.get("name", "")), (group_of(str(obj.get("apiVersion", ""))), str(obj.get("kind", "")))
    if kind in _NEVER:
        return "is of a kind that is never placed"
    if kind[0] == _RBAC and name.startswith("system:"):
        return "has a name that is Kubernetes' own"
    if kind == (_RBAC, "ClusterRole") and _is_aggregated(metadata):
        return "is gathered into other roles by its labels (aggregate-to-...), which gives rights to others"
    if kind == ("scheduling.k8s.io", "PriorityClass"):
        if name.startswith("system-"):
            return "has a name that is Kubernetes' own"
        if obj.get("globalDefault") is True:
            return "would be the default for everybody's pods (globalDefault)"
    if _is_default(metadata):
        return "would be the default for everybody (annotation is-default-class)"
    return _definition_problem(obj) if kind == DEFINITION else ""


def brings(obj: Mapping[str, Any]) -> Brought | None:
    """The kind that a CustomResourceDefinition serves; None for any other object, and for one of another shape."""
    if not is_definition(str(obj.get("apiVersion", "")), str(obj.get("kind", ""))):
        return None
    spec = _mapping(obj, "spec")
    group, kind, versions = spec.get("group"), _mapping(spec, "names").get("kind"), spec.get("versions")
    if not (isinstance(group, str) and isinstance(kind, str) and isinstance(versions, list)):
        return None
    served = (each.get("name") for each in versions if isinstance(each, Mapping) and each.get("served") is True)
    names = tuple(name for name in served if isinstance(name, str))
    return Brought(group, kind, spec.get("scope") != "Cluster", names)


def brought(objects: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Brought]:
    """What the definitions among some objects serve, by group and kind."""
    found = (brings(each) for each in objects)
    return {(each.group, each.kind): each for each in found if each is not None}


def _definition_problem(obj: Mapping[str, Any]) -> str:
    spec = _mapping(obj, "spec")
    group = str(spec.get("group", ""))
    if any(group == each or group.endswith(f".{each}") for each in (_OUR_GROUP, *_KUBERNETES)):
        return f"is of the group {group}, which is not a tenant's"
    if _mapping(spec, "conversion").get("strategy", "None") != "None":
        return "has a conversion webhook, which would be asked about everybody's objects"
    return ""


def _is_aggregated(metadata: Mapping[str, Any]) -> bool:
    return any(str(label).rpartition("/")[2].startswith("aggregate-to-") for label in _mapping(metadata, "labels"))


def _is_default(metadata: Mapping[str, Any]) -> bool:
    annotations = _mapping(metadata, "annotations")
    return any(str(each).endswith("/is-default-class") and value == "true" for each, value in annotations.items())


def _mapping(obj: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    found = obj.get(field)
    return found if isinstance(found, Mapping) else {}
