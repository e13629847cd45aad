"""Who may do what with Moorage's kinds on kcp, whatever rights there are in a consumer's workspace. Pure.

These are the rules of the export's maximalPermissionPolicy: ClusterRoles in its workspace, whose subjects are users and
groups of consumers with `apis.kcp.io:binding:` before their names. kcp asks them beside the workspace's own rules, of
requests and of SubjectAccessReviews.
"""

from typing import Any, Final

from shared.api.generate.admission import WRITERS
from shared.api.meta import GROUP
from shared.api.resources import RESOURCES

Document = dict[str, Any]

RBAC: Final = "rbac.authorization.k8s.io"
CONSUMERS: Final = "apis.kcp.io:binding:"
"""Begins the names of users and groups of consumers."""

WORKERS: Final = ("binding", "controller", "decision", "discovery", "intake", "status")
"""The workers that speak to the hub. Each logs in as a member of the group `moorage:<worker>`."""

READERS: Final = "moorage-readers"
"""The role by which they read, through the export's virtual workspace, what its consumers have."""

BINDERS: Final = "moorage-binders"
"""The role of those who may bind the export."""

_READ: Final = ("get", "list", "watch")

_WRITTEN: Final = sorted({name.partition("/")[0] for name in WRITERS if "/" not in name})
"""The kinds that Moorage alone writes."""

_STATUS: Final = sorted({name for name in WRITERS if "/" in name})


def rights(binders: tuple[str, ...] = ()) -> list[Document]:
    """The ClusterRoles, and who has them. `binders` are the groups that may bind the export, beside administrators."""
    plurals = [resource.plural for resource in RESOURCES]
    asked = [plural for plural in plurals if plural not in _WRITTEN]
    free = [f"{each.plural}/status" for each in RESOURCES if each.status and f"{each.plural}/status" not in WRITERS]
    bind = {"apiGroups": ["apis.kcp.io"], "resources": ["apiexports"], "resourceNames": [GROUP], "verbs": ["bind"]}
    subjects = [_group(name) for name in binders]
    slices = {"apiGroups": ["apis.kcp.io"], "resources": ["apiexportendpointslices"], "verbs": list(_READ)}
    content = {**bind, "resources": ["apiexports/content"], "verbs": list(_READ)}
    enter = {"nonResourceURLs": ["/"], "verbs": ["access"]}
    return [
        _role(BINDERS, bind),
        *([_binding(BINDERS, *subjects)] if subjects else []),
        _role(READERS, enter, slices, content),
        _binding(READERS, *(_group(f"moorage:{worker}") for worker in WORKERS)),
        # Custom verbs too: `use` and `override` are asked of SyncTargets and Placements by SubjectAccessReview.
        _role(
            "moorage-consumers",
            _rule([*asked, *free, "placements/finalizers"], "*"),
            _rule(_WRITTEN, "get", "list", "watch", "delete", "deletecollection"),
            _rule(_STATUS, "get"),
        ),
        _binding("moorage-consumers", _group(f"{CONSUMERS}system:authenticated")),
        _role("moorage-operators", _rule(["*"], "*")),
        _binding("moorage-operators", _group(f"{CONSUMERS}system:kcp:admin"), _group(f"{CONSUMERS}system:masters")),
        *(each for worker in sorted(set(WRITERS.values())) for each in _writer(worker)),
    ]


def _writer(worker: str) -> list[Document]:
    name = f"moorage-writer-{worker}"
    written = [resource for resource, writer in WRITERS.items() if writer == worker]
    verbs = ("get", "list", "watch", "create", "update", "patch", "delete")
    return [_role(name, _rule(written, *verbs)), _binding(name, _group(f"{CONSUMERS}moorage:{worker}"))]


def _rule(resources: list[str], *verbs: str) -> Document:
    return {"apiGroups": [GROUP], "resources": resources, "verbs": list(verbs)}


def _role(name: str, *rules: Document) -> Document:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": list(rules),
    }


def _binding(name: str, *subjects: Document) -> Document:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
        "subjects": list(subjects),
    }


def _group(name: str) -> Document:
    return {"apiGroup": RBAC, "kind": "Group", "name": name}
