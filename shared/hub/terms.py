"""What the owner of a target decides, as rules: which namespaces and kinds are out of bounds, and what names become.

Pure. The scheduler asks here so that a placement goes elsewhere, and binding asks again before it applies.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from shared.hub.names import APPLIER, CLAIM_ANNOTATION, SYSTEM_NAMESPACE
from shared.kube.resources import group_of
from shared.model.target import Target, Terms

PROTECTED: Final = ("kube-*", SYSTEM_NAMESPACE)
"""Namespaces that nothing is ever placed into, whoever asks."""

# What gives rights, or reaches beyond the namespace that it lies in. Kubernetes' own roles for tenants leave the same
# out, but for Roles and RoleBindings, with which its admins cannot give more than they have. We may give more.
_GUARDED_GROUPS = frozenset({"rbac.authorization.k8s.io", "authorization.openshift.io"})
_GUARDED_KINDS = frozenset({("", "Endpoints"), ("discovery.k8s.io", "EndpointSlice")})
_GUARDED_SECRETS = frozenset({"kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"})

_NAME = 63  # characters of a namespace's name
_DIGEST = 16


def is_protected(terms: Terms, namespace: str) -> bool:
    """Whether nothing may be placed into a namespace of the target."""
    return _is_among(PROTECTED, namespace) or _is_among(terms.protected_namespaces, namespace)


def is_guarded(obj: Mapping[str, Any]) -> bool:
    """Whether an object is placed only where the target's owner lists its kind."""
    group, kind = group_of(str(obj.get("apiVersion", ""))), str(obj.get("kind", ""))
    if (group, kind) == ("", "Secret"):
        return obj.get("type") in _GUARDED_SECRETS
    return group in _GUARDED_GROUPS or (group, kind) in _GUARDED_KINDS


def kind_name(group: str, kind: str) -> str:
    """`RoleBinding.rbac.authorization.k8s.io`, or `Secret` of the core group, as terms list kinds."""
    return f"{kind}.{group}" if group else kind


def allows_kind(terms: Terms, api_version: str, kind: str) -> bool:
    """Whether the target's owner lists a kind."""
    return kind_name(group_of(api_version), kind) in terms.allowed_kinds


def namespace_in(terms: Terms, workspace: str, namespace: str) -> str:
    """The namespace of the target that what a workspace has in `namespace` is placed into."""
    if not terms.per_workspace:
        return namespace
    digest = hashlib.sha256(f"{workspace}|{namespace}".encode()).hexdigest()[:_DIGEST]
    return f"{namespace[: _NAME - _DIGEST - 1]}-{digest}"


def claim_of(namespace: Mapping[str, Any]) -> str | None:
    """The workspace that a Namespace of a target belongs to; None for one that nobody has claimed."""
    annotations = namespace["metadata"].get("annotations")
    claim = annotations.get(CLAIM_ANNOTATION) if isinstance(annotations, Mapping) else None
    return claim if isinstance(claim, str) else None


def is_free(namespace: Mapping[str, Any]) -> bool:
    """Whether any workspace may claim a Namespace: nobody has, and it was made by us."""
    entries = namespace["metadata"].get("managedFields") or ()
    return claim_of(namespace) is None and any(entry.get("manager") == APPLIER for entry in entries)


def is_closed(target: Target, workspace: str, namespace: str) -> bool:
    """Whether nothing that a workspace has in `namespace` may be placed into the target, as far as is known."""
    there = namespace_in(target.terms, workspace, namespace)
    return is_protected(target.terms, there) or target.claims.get(there, workspace) != workspace


def _is_among(patterns: Iterable[str], namespace: str) -> bool:
    for pattern in patterns:
        if namespace == pattern or (pattern[-1:] == "*" and namespace.startswith(pattern[:-1])):
            return True
    return False
