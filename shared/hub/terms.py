"""What the owner of a target decides, as rules: which namespaces and kinds are out of bounds, and what names become.

Pure. The scheduler asks here so that a placement goes elsewhere, and binding asks again before it applies.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from shared.hub.names import APPLIER, CLAIM_ANNOTATION, SYSTEM_NAMESPACE
from shared.hub.scope import is_never_placed
from shared.kube.resources import group_of
from shared.kube.times import seconds
from shared.model.target import Target, Terms

PROTECTED: Final = ("kube-*", SYSTEM_NAMESPACE)
"""Namespaces that nothing is ever placed into, whoever asks."""

# What gives rights, or reaches beyond the namespace that it lies in. Kubernetes' own roles for tenants leave the same
# out, but for Roles and RoleBindings, with which its admins cannot give more than they have. We may give more.
_GUARDED_GROUPS = frozenset({"rbac.authorization.k8s.io", "authorization.openshift.io"})
_GUARDED_KINDS = frozenset({("", "Endpoints"), ("discovery.k8s.io", "EndpointSlice")})
_GUARDED_SECRETS = frozenset({"kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"})

# Labels of namespaces that their own cluster, kcp, we, or tools on the hub write, and which mean nothing elsewhere.
_OF_TOOLS = ("kubernetes.io/metadata.name", "app.kubernetes.io/managed-by")
_TOOLS = (
    "kcp.io", "moorage.io", "applyset.kubernetes.io", "kubectl.kubernetes.io", "cattle.io", "rancher.io", "helm.sh",
    "argoproj.io", "fluxcd.io", "k8slens.dev", "kubesphere.io", "operators.coreos.com", "olm.operatorgroup.uid",
)  # fmt: skip
_POD_SECURITY = "pod-security.kubernetes.io/"
_LEVELS = tuple(f"{_POD_SECURITY}{mode}" for mode in ("enforce", "audit", "warn"))
_GUARDED_LABELS = (_POD_SECURITY, "security.openshift.io/", "admission.gatekeeper.sh/")

_AT_ONCE = 2.0  # seconds; times of API servers have whole ones
_NAME = 63  # characters of a namespace's name
_DIGEST = 16


def carried_labels(terms: Terms, labels: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Those labels of a workspace's namespace that the namespace made for it in a target gets, and the keys of those
    that its owner does not let through. What tools and clusters write for themselves is in neither.

    A label of a namespace can be a right: Pod Security, NetworkPolicies and admission go by them. So none is carried
    unless the owner lists it, but the strictest level of Pod Security, which takes away and gives nothing.
    """
    told = {key: value for key, value in labels.items() if not _is_among(_OF_TOOLS, key) and not _of_tool(key)}
    kept = {key: value for key, value in told.items() if _may_carry(terms, key, value)}
    return kept, tuple(sorted(told.keys() - kept.keys()))


def _of_tool(key: str) -> bool:
    domain = key.partition("/")[0] if "/" in key else ""
    return any(domain == each or domain.endswith(f".{each}") for each in _TOOLS)


def _may_carry(terms: Terms, key: str, value: str) -> bool:
    if key in _LEVELS and value == "restricted":
        return True
    guard = next((each for each in _GUARDED_LABELS if key.startswith(each)), "")
    # One pattern that ends before the prefix, such as `*`, was not meant for what is guarded.
    meant = [each for each in terms.namespace_labels if each.startswith(guard)]
    return _is_among(meant, key)


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
    """Whether the target's owner lists a kind; some are taken nowhere."""
    return kind_name(group_of(api_version), kind) in terms.allowed_kinds and not is_never_placed(api_version, kind)


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


def is_made_by_us(namespace: Mapping[str, Any]) -> bool:
    """Whether we made a Namespace of a target, and nobody else wrote anything on it since.

    Our entry in its managedFields must be as old as the object: one that was restored from a backup, or made anew from
    a copy, has a younger object under it, and is whoever's that made it.
    """
    metadata = namespace["metadata"]
    entries = [each for each in metadata.get("managedFields") or () if isinstance(each, Mapping)]
    made = seconds(str(metadata.get("creationTimestamp", "")))
    return (
        bool(entries)
        and all(each.get("manager") == APPLIER for each in entries)
        and any(abs(seconds(str(each.get("time", ""))) - made) <= _AT_ONCE for each in entries)
        and not metadata.get("ownerReferences")
        and not metadata.get("finalizers")
        and not metadata.get("deletionTimestamp")
    )


def is_closed(target: Target, workspace: str, namespace: str) -> bool:
    """Whether nothing that a workspace has in `namespace` may be placed into the target, as far as is known."""
    there = namespace_in(target.terms, workspace, namespace)
    return is_protected(target.terms, there) or target.claims.get(there, workspace) != workspace


def _is_among(patterns: Iterable[str], name: str) -> bool:
    return any(name == each or (each[-1:] == "*" and name.startswith(each[:-1])) for each in patterns)
