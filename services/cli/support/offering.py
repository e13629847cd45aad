"""The objects on the hub by which a cluster is offered: SyncTarget, Secret, and who may use it. Pure."""

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from shared.hub.names import SYSTEM_NAMESPACE
from shared.hub.resources import SYNCTARGETS
from shared.kube.resources import CLUSTERROLEBINDINGS, CLUSTERROLES

KEY = "kubeconfig"
ENTER = {"nonResourceURLs": ["/"], "verbs": ["access"]}
"""To enter a workspace of a kcp, which allows nothing by itself."""

Object = dict[str, Any]
Subject = dict[str, str]


def namespace() -> Object:
    """Where the Secrets are."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM_NAMESPACE}}


def secret_name(target: str) -> str:
    """The name of the Secret of a target."""
    return f"target-{target}"


def secret(target: str, kubeconfig: bytes) -> Object:
    """The Secret with the kubeconfig that workers use."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": secret_name(target), "namespace": SYSTEM_NAMESPACE},
        "data": {KEY: encoded(kubeconfig)},
    }


def encoded(content: bytes) -> str:
    """Content as the data of a Secret has it."""
    return base64.b64encode(content).decode()


def sync_target(name: str, labels: Mapping[str, str], **spec: Any) -> Object:
    """The SyncTarget, with whatever else its spec has."""
    ref = {"namespace": SYSTEM_NAMESPACE, "name": secret_name(name), "key": KEY}
    return {
        "apiVersion": SYNCTARGETS.api_version,
        "kind": SYNCTARGETS.kind,
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": {"kubeconfigSecretRef": ref, **spec},
    }


def right_name(name: str) -> str:
    """The name of the ClusterRole, and of its binding, that let somebody use one target or several."""
    return f"moorage-use-{name}"


def group(name: str) -> Subject:
    """A group, as bindings name it."""
    return {"apiGroup": CLUSTERROLES.group, "kind": "Group", "name": name}


def user(name: str) -> Subject:
    """A user, as bindings name it."""
    return {"apiGroup": CLUSTERROLES.group, "kind": "User", "name": name}


def right(
    name: str, targets: list[str], subjects: Iterable[Subject], *, entering: bool = False
) -> tuple[Object, Object]:
    """A ClusterRole with the verb `use` on these SyncTargets, and the ClusterRoleBinding that gives it to some.

    `entering` adds that they may enter the workspace, which kcp asks for before it looks at any other right.
    """
    rule = {
        "apiGroups": [SYNCTARGETS.group],
        "resources": [SYNCTARGETS.plural],
        "verbs": ["use"],
        "resourceNames": targets,
    }
    role = {
        "apiVersion": CLUSTERROLES.api_version,
        "kind": CLUSTERROLES.kind,
        "metadata": {"name": right_name(name)},
        "rules": [*([rule] if targets else []), *([ENTER] if entering else [])],
    }
    binding = {
        "apiVersion": CLUSTERROLEBINDINGS.api_version,
        "kind": CLUSTERROLEBINDINGS.kind,
        "metadata": {"name": right_name(name)},
        "roleRef": {"apiGroup": CLUSTERROLES.group, "kind": "ClusterRole", "name": right_name(name)},
        "subjects": list(subjects),
    }
    return role, binding
