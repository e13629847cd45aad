"""The account that workers have in a cluster that joined: its manifests, its token, its kubeconfig."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.cli.hub.objects import KINDS, manifests
from services.cli.support.errors import UsageError
from shared.hub.names import SYSTEM_NAMESPACE
from shared.kube.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, SECRETS

if TYPE_CHECKING:
    from shared.kube.auth.kubeconfig import Credentials

Object = dict[str, Any]

ACCOUNT = "moorage"
"""The ServiceAccount, in `SYSTEM_NAMESPACE`."""

WORKLOADS, NAMESPACES_ROLE = "moorage-cluster-workloads", "moorage-cluster-namespaces"
VERBS = ["get", "list", "watch", "create", "patch", "delete"]
"""What is done with what is placed: it is applied, which creates or patches it."""

SOURCE = "moorage-workloads-common"
"""The ClusterRole on the hub whose kinds may be placed; where to may be placed what may be read there."""

OF_ACCOUNT = "kubernetes.io/service-account-token"
ACCOUNT_NAME = "kubernetes.io/service-account.name"
COMPONENT_LABEL = "app.kubernetes.io/component"
SECRETS_SELECTOR = f"{COMPONENT_LABEL}={ACCOUNT}-token"
_FILE = Path(__file__).with_name("account.yaml")


def account(resources: Sequence[str] = (), *, keep_namespaces: bool = False) -> list[Object]:
    """Namespace, ServiceAccount, ClusterRoles and their bindings, in the order in which they are applied.

    `resources` may be placed beside the usual kinds, each as `plural.group`. Raises UsageError for one that is none.
    """
    import yaml

    objects: list[Object] = [each for each in yaml.safe_load_all(_FILE.read_text("utf-8")) if each]
    if keep_namespaces:
        objects = [each for each in objects if each["metadata"]["name"] != NAMESPACES_ROLE]
    for each in objects:
        if each["metadata"]["name"] == WORKLOADS:
            each["rules"] = [*_usual(), *map(_rule, resources)]
    roles = [each["metadata"]["name"] for each in objects if each["kind"] == CLUSTERROLES.kind]
    return [*objects, *map(_bound, roles)]


def parts() -> list[tuple[str, str]]:
    """Kind and name of all that an account may consist of, but for its namespace."""
    return [(each["kind"], each["metadata"]["name"]) for each in account() if each["kind"] != "Namespace"]


def _usual() -> list[Object]:
    common = next(each for each in manifests(admission=False) if each["metadata"]["name"] == SOURCE)
    return [{**rule, "verbs": VERBS} for rule in common["rules"]]


def _rule(resource: str) -> Object:
    plural, _, group = resource.partition(".")
    if not plural or "*" in resource or resource.lower() != resource:
        raise UsageError(f"--resource {resource}: it takes PLURAL.GROUP in lower case, as certificates.cert-manager.io")
    return {"apiGroups": [group], "resources": [plural], "verbs": VERBS}


def _bound(role: str) -> Object:
    return {
        "apiVersion": CLUSTERROLEBINDINGS.api_version,
        "kind": CLUSTERROLEBINDINGS.kind,
        "metadata": {"name": role},
        "roleRef": {"apiGroup": CLUSTERROLES.group, "kind": CLUSTERROLES.kind, "name": role},
        "subjects": [{"kind": KINDS["ServiceAccount"].kind, "name": ACCOUNT, "namespace": SYSTEM_NAMESPACE}],
    }


def token_secret(name: str) -> Object:
    """A Secret that the cluster puts a token of the account in, which is good as long as the Secret is there."""
    component, _, value = SECRETS_SELECTOR.partition("=")
    metadata = {
        "name": name,
        "namespace": SYSTEM_NAMESPACE,
        "labels": {component: value},
        "annotations": {ACCOUNT_NAME: ACCOUNT},
    }
    return {"apiVersion": "v1", "kind": SECRETS.kind, "type": OF_ACCOUNT, "metadata": metadata}


def token_in(secret: Object) -> str:
    """The token in such a Secret; empty as long as there is none."""
    return base64.b64decode((secret.get("data") or {}).get("token", "")).decode()


def kubeconfig(cluster: "Credentials", token: str, server: str = "") -> bytes:
    """The kubeconfig that leads to a cluster as this account; `server` if workers reach it by another address."""
    import yaml

    where: Object = {"server": server or cluster.server}
    if cluster.insecure:
        where["insecure-skip-tls-verify"] = True
    elif cluster.ca:
        where["certificate-authority-data"] = base64.b64encode(cluster.ca).decode()
    if cluster.tls_server_name:
        where["tls-server-name"] = cluster.tls_server_name
    if cluster.proxy:
        where["proxy-url"] = cluster.proxy
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "cluster", "cluster": where}],
        "users": [{"name": ACCOUNT, "user": {"token": token}}],
        "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": ACCOUNT}}],
        "current-context": "cluster",
    }
    return yaml.safe_dump(document, sort_keys=False).encode()
