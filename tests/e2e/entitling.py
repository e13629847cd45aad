"""What the administrators of a plain hub do before anybody places there: they offer clusters, and give rights."""

import base64

from shared.hub.resources import PLACEMENTS, SYNCTARGETS
from shared.kube.client import Client
from shared.kube.resources import NAMESPACES, SECRETS, Resource
from tests.support.worlds import NAMESPACE

SYSTEM = "moorage-system"
RBAC = "rbac.authorization.k8s.io"


async def offer(admin: Client, name: str, kubeconfig: bytes) -> None:
    """A SyncTarget with the kubeconfig of a cluster."""
    data = {"kubeconfig": base64.b64encode(kubeconfig).decode()}
    metadata = {"name": f"target-{name}", "namespace": SYSTEM}
    await admin.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
    target = {
        "apiVersion": SYNCTARGETS.api_version,
        "kind": SYNCTARGETS.kind,
        "metadata": {"name": name, "labels": {"topology.kubernetes.io/region": name}},
        "spec": {"kubeconfigSecretRef": {**metadata, "key": "kubeconfig"}},
    }
    await admin.create(SYNCTARGETS, target)


async def entitle(admin: Client) -> None:
    """What the platform's administrator does: alice works in her namespace, and may use two clusters of three."""
    await admin.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    rules = {
        "work": [
            {"apiGroups": [PLACEMENTS.group], "resources": ["*"], "verbs": ["*"]},
            {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["*"]},
            {"apiGroups": [""], "resources": ["configmaps", "services", "events"], "verbs": ["*"]},
        ],
        "use": [
            {
                "apiGroups": [SYNCTARGETS.group],
                "resources": [SYNCTARGETS.plural],
                "verbs": ["use"],
                "resourceNames": ["north", "south"],
            }
        ],
    }
    impersonated = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "requesters", "labels": {"placement.moorage.io/aggregate-to-requesters": "true"}},
        "rules": [
            {
                "apiGroups": [""],
                "resources": ["users"],
                "verbs": ["impersonate"],
                "resourceNames": ["alice", "mallory"],
            },
            {
                "apiGroups": [""],
                "resources": ["groups"],
                "verbs": ["impersonate"],
                "resourceNames": ["shop", "system:authenticated"],
            },
        ],
    }
    await admin.create(Resource(RBAC, "v1", "clusterroles", False, "ClusterRole"), impersonated)
    for name, rule in rules.items():
        role = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rule}
        await admin.create(Resource(RBAC, "v1", "clusterroles", False, "ClusterRole"), role)
        kind, plural, namespaced = (
            ("RoleBinding", "rolebindings", True)
            if name == "work"
            else ("ClusterRoleBinding", "clusterrolebindings", False)
        )
        binding = {
            "apiVersion": f"{RBAC}/v1",
            "kind": kind,
            "metadata": {"name": f"alice-{name}", **({"namespace": NAMESPACE} if namespaced else {})},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": RBAC, "kind": "User", "name": "alice"}],
        }
        await admin.create(Resource(RBAC, "v1", plural, namespaced, kind), binding)
