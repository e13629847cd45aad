"""The objects that Moorage needs on kcp: in the workspace of its APIExport, and in each workspace that uses it."""

from collections.abc import Iterable
from typing import Any, Final

from services.cli.hub.objects import MANIFESTS
from shared.api import GROUP
from shared.api.generate.claims import CLAIMS, Identities
from shared.api.generate.rights import WORKERS
from shared.hub.resources import APIBINDINGS

Document = dict[str, Any]

RBAC: Final = "rbac.authorization.k8s.io"
ENTERING: Final = "moorage-workers"
_ENTERING: Final[list[Document]] = [
    {"nonResourceURLs": ["/"], "verbs": ["access"]},
    {"apiGroups": ["tenancy.kcp.io"], "resources": ["workspaces"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["apis.kcp.io"], "resources": ["apibindings"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["core.kcp.io"], "resources": ["logicalclusters"], "verbs": ["get", "list", "watch"]},
]
"""To enter a workspace, to see what is below it, and which APIs it has bound."""


def provider(identities: Identities, binders: tuple[str, ...] = (), *, admission: bool = True) -> list[Document]:
    """What is installed in the workspace of the export, in the order in which it is applied."""
    import yaml

    from shared.api.generate import admission as policies
    from shared.api.generate.crds import api_export, api_resource_schema
    from shared.api.generate.rights import rights
    from shared.api.resources import RESOURCES

    admitting = [each for each in yaml.safe_load_all(policies.admission("kcp")) if each] if admission else []
    schemas = [api_resource_schema(resource) for resource in RESOURCES]
    return [*rights(binders), *admitting, *schemas, api_export(identities)]


def binding(export: str, claims: Iterable[Document], accepted: Iterable[str] = ()) -> Document:
    """The APIBinding of a consumer to the export in the workspace `export`, with each claim rejected but those that
    are `accepted`, by names as `secrets` or `deployments.apps`."""
    granted = set(accepted)
    answered = [
        {
            **{name: value for name, value in claim.items() if name != "defaultSelector"},
            "state": "Accepted" if named(claim) in granted else "Rejected",
            "selector": {"matchAll": True},
        }
        for claim in claims
    ]
    return {
        "apiVersion": APIBINDINGS.api_version,
        "kind": APIBINDINGS.kind,
        "metadata": {"name": GROUP},
        "spec": {
            "reference": {"export": {"path": export, "name": GROUP}},
            **({"permissionClaims": answered} if answered else {}),
        },
    }


def named(claim: Document) -> str:
    """A claim as `kubectl` names its resource."""
    return f"{claim['resource']}.{claim.get('group', '')}".rstrip(".")


def workers() -> list[Document]:
    """What lets each worker do its work in a workspace, and no more: the rights that it has on a plain hub, and for
    `status` to tell on workloads how they are, which no controller of kcp does."""
    import yaml

    documents = [each for each in yaml.safe_load_all((MANIFESTS / "rbac.yaml").read_text("utf-8")) if each]
    rights = [
        each for each in documents if each["kind"] != "ServiceAccount" and "requesters" not in each["metadata"]["name"]
    ]
    for each in rights:
        if "subjects" in each:
            each["subjects"] = [_group(subject["name"]) for subject in each["subjects"]]
    told = [
        {"apiGroups": [each.group], "resources": [f"{each.resource}/status"], "verbs": ["patch"]}
        for each in CLAIMS
        if {*each.verbs} >= {"get", "patch"}
    ]
    return [*_right(ENTERING, _ENTERING, *WORKERS), *rights, *_right("moorage-status-workloads", told, "status")]


def _right(name: str, rules: list[Document], *workers: str) -> tuple[Document, Document]:
    """A ClusterRole, and the binding that gives it to workers."""
    api = {"apiVersion": f"{RBAC}/v1", "metadata": {"name": name}}
    role = {"apiGroup": RBAC, "kind": "ClusterRole", "name": name}
    subjects = [_group(worker) for worker in workers]
    return (
        {**api, "kind": "ClusterRole", "rules": rules},
        {**api, "kind": "ClusterRoleBinding", "roleRef": role, "subjects": subjects},
    )


def _group(worker: str) -> Document:
    return {"apiGroup": RBAC, "kind": "Group", "name": f"moorage:{worker}"}
