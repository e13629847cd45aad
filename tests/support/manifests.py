"""Kubernetes objects for tests, as manifests have them."""

from typing import Any

API_VERSION = "placement.moorage.io/v1alpha1"


def obj(
    kind: str, api_version: str = "v1", /, *, name: str = "web", namespace: str = "shop", **fields: Any
) -> dict[str, Any]:
    """An object of a name, with these fields; without a namespace where that is empty."""
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}


def deployment(
    name: str = "web",
    *,
    namespace: str = "shop",
    replicas: int = 1,
    cpu: str = "",
    container: dict[str, Any] | None = None,
    **pod: Any,
) -> dict[str, Any]:
    """A Deployment of one container that requests `cpu`; fields of the container and of the pod may be added."""
    labels = {"app": name}
    resources = {"resources": {"requests": {"cpu": cpu, "memory": "64Mi"}}} if cpu else {}
    main = {"name": "main", "image": "shop/web:1", **resources, **(container or {})}
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [main], **pod}},
    }
    made = obj("Deployment", "apps/v1", name=name, namespace=namespace, spec=spec)
    made["metadata"]["labels"] = labels
    return made


def placement(name: str = "web", *, namespace: str = "shop", **spec: Any) -> dict[str, Any]:
    """A Placement of the Deployment of the same name."""
    workload = [{"apiVersion": "apps/v1", "kind": "Deployment", "name": name}]
    return obj("Placement", API_VERSION, name=name, namespace=namespace, spec={"workload": workload, **spec})


def exception(name: str, policy: str, expires: str = "2999-01-01T00:00:00Z", **spec: Any) -> dict[str, Any]:
    """A PolicyException from a policy."""
    granted = {"policy": policy, "reason": "it moves next month", "expiresAt": expires, **spec}
    return obj("PolicyException", API_VERSION, name=name, namespace="", spec=granted)


def policy(name: str, *rules: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A PlacementPolicy of these rules."""
    return obj("PlacementPolicy", API_VERSION, name=name, namespace="", spec={"rules": list(rules), **spec})


def condition(status: dict[str, Any], type: str) -> dict[str, Any]:
    """The condition of that type in a status; empty where there is none."""
    return next((each for each in status.get("conditions", ()) if each["type"] == type), {})


def definition(group: str, kind: str, version: str = "v1alpha1") -> dict[str, Any]:
    """A CustomResourceDefinition of a namespaced kind of any content."""
    plural = f"{kind.lower()}s"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    served = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [served]}
    return obj("CustomResourceDefinition", "apiextensions.k8s.io/v1", name=f"{plural}.{group}", namespace="", spec=spec)


CLONESET = "apps.kruise.io/v1alpha1"


def cloneset(replicas: int = 6, **pod: Any) -> dict[str, Any]:
    """A CloneSet of OpenKruise, by whose group and kind nobody knows where its pods are unless it is declared."""
    return {**deployment(replicas=replicas, cpu="1", **pod), "apiVersion": CLONESET, "kind": "CloneSet"}


def workload_kind(group: str = "apps.kruise.io", kind: str = "CloneSet", **spec: Any) -> dict[str, Any]:
    """A WorkloadKind; of what has replicas of one template, where nothing else is said."""
    usual = {"pods": [{"template": "spec.template"}], "replicas": "spec.replicas", "ready": "status.readyReplicas"}
    name = f"{kind.lower()}s.{group}"
    return obj(
        "WorkloadKind", API_VERSION, name=name, namespace="", spec={"group": group, "kind": kind, **(spec or usual)}
    )
