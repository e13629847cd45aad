"""Rights of users in the sandbox's workspaces."""

from typing import Any

from shared.kube.client import Client
from shared.kube.resources import CLUSTERROLEBINDINGS, CLUSTERROLES
from tests.support.manifests import obj

ACCESS = {"nonResourceURLs": ["/"], "verbs": ["access"]}
"""What kcp asks for before anything else."""

PLACING = {"apiGroups": ["placement.moorage.io"], "resources": ["*"], "verbs": ["*"]}
USING = {"apiGroups": ["placement.moorage.io"], "resources": ["synctargets"], "verbs": ["use"]}


async def grant(client: Client, user: str, *rules: dict[str, Any]) -> str:
    """Let a user do these things in a workspace; the name of the ClusterRole and of its binding."""
    name = f"{user}-{len(rules)}"
    role = obj("ClusterRole", CLUSTERROLES.api_version, name=name, namespace="", rules=list(rules))
    await client.create(CLUSTERROLES, role)
    ref = {"apiGroup": CLUSTERROLES.group, "kind": "ClusterRole", "name": name}
    binding = obj("ClusterRoleBinding", CLUSTERROLES.api_version, name=name, namespace="", roleRef=ref)
    subject = {"kind": "User", "name": user, "apiGroup": CLUSTERROLES.group}
    await client.create(CLUSTERROLEBINDINGS, {**binding, "subjects": [subject]})
    return name
