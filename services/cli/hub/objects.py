"""The objects that are installed on a plain Kubernetes hub: CRDs, and the manifests beside this module."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared.hub.resources import APIBINDINGS
from shared.kube.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, CRDS, NAMESPACES, Resource

MANIFESTS = Path(__file__).parent
ADMISSION = "admissionregistration.k8s.io"
SCHEMAS = Resource("apis.kcp.io", "v1alpha1", "apiresourceschemas", False, "APIResourceSchema")
EXPORTS = Resource("apis.kcp.io", "v1alpha2", "apiexports", False, "APIExport")

KINDS = {
    resource.kind: resource
    for resource in (
        CRDS,
        SCHEMAS,
        EXPORTS,
        APIBINDINGS,
        NAMESPACES,
        Resource("", "v1", "serviceaccounts", kind="ServiceAccount"),
        CLUSTERROLES,
        CLUSTERROLEBINDINGS,
        Resource(ADMISSION, "v1", "mutatingadmissionpolicies", False, "MutatingAdmissionPolicy"),
        Resource(ADMISSION, "v1", "mutatingadmissionpolicybindings", False, "MutatingAdmissionPolicyBinding"),
        Resource(ADMISSION, "v1", "validatingadmissionpolicies", False, "ValidatingAdmissionPolicy"),
        Resource(ADMISSION, "v1", "validatingadmissionpolicybindings", False, "ValidatingAdmissionPolicyBinding"),
    )
}
"""Every kind that is installed."""


def manifests(*, admission: bool = True) -> list[dict[str, Any]]:
    """Everything that is installed, in the order in which it is applied."""
    import yaml

    from shared.api.generate.crds import crd
    from shared.api.resources import RESOURCES

    files = ("namespace.yaml", "rbac.yaml", *(("admission.yaml",) if admission else ()))
    rest = [each for name in files for each in yaml.safe_load_all((MANIFESTS / name).read_text("utf-8")) if each]
    return [*(crd(resource) for resource in RESOURCES), *rest]


def as_yaml(objects: Sequence[dict[str, Any]]) -> str:
    """Manifests as kubectl reads them."""
    import yaml

    return yaml.safe_dump_all(objects, sort_keys=False, explicit_start=True, width=120)


def label(obj: dict[str, Any]) -> str:
    """An object as kubectl names it: `clusterrole.rbac.authorization.k8s.io/moorage-binding`."""
    group = KINDS[obj["kind"]].group
    return f"{obj['kind'].lower()}{f'.{group}' if group else ''}/{obj['metadata']['name']}"
