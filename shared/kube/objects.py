"""Pure helpers for server-side apply: what to leave out of a copied object, its hash, and kubectl's ApplySets.

ApplySets are KEP-3659: a parent object names what was applied with it, so that any tool can see and prune it.
"""

import base64
import copy
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

APPLYSET_ID = "applyset.kubernetes.io/id"
APPLYSET_PART_OF = "applyset.kubernetes.io/part-of"
APPLYSET_TOOLING = "applyset.kubernetes.io/tooling"
APPLYSET_GROUP_KINDS = "applyset.kubernetes.io/contains-group-kinds"
APPLYSET_NAMESPACES = "applyset.kubernetes.io/additional-namespaces"

_SERVER_METADATA = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",  # those of the source's controllers, which do not run in the target
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
)
_SERVER_ANNOTATIONS = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "deployment.kubernetes.io/revision",
    "pv.kubernetes.io/bind-completed",
    "pv.kubernetes.io/bound-by-controller",
    "volume.kubernetes.io/selected-node",
    "volume.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-provisioner",
    "kcp.io/cluster",
    "kcp.io/path",
)
_JOB_LABELS = ("controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name")


def strip_server_fields(obj: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `obj` without what its API server or controllers put there, fit to be applied elsewhere.

    Left out: identity and history in the metadata, `status`, membership in another ApplySet, and what is allocated per
    cluster for well-known kinds (a Service's cluster IPs and node ports, a claim's volume, a Job's generated selector).
    """
    stripped = {key: copy.deepcopy(value) for key, value in obj.items() if key != "status"}
    metadata = _mapping(stripped.get("metadata"))
    _drop(metadata, *_SERVER_METADATA)
    _drop_from(metadata, "annotations", _SERVER_ANNOTATIONS)
    _drop_from(metadata, "labels", (APPLYSET_PART_OF,))
    clean = _BY_KIND.get((_group(str(obj.get("apiVersion", ""))), str(obj.get("kind", ""))))
    if clean is not None:
        clean(stripped)
    template = _mapping(_mapping(stripped.get("spec")).get("template"))
    _drop(_mapping(template.get("metadata")), "creationTimestamp")
    return stripped


def content_hash(obj: Mapping[str, Any]) -> str:
    """SHA-256 of an object's content, the same in every process and for every order of its keys."""
    return hashlib.sha256(msgspec.json.encode(obj, order="deterministic")).hexdigest()


def owned_fields(obj: Mapping[str, Any], manager: str) -> str:
    """A digest of the fields that `manager` owns of an object by having applied it.

    An API server takes a field from the set of one manager when another changes or removes it, so that a set other than
    the one after the last apply means that somebody did (kubernetes.io/docs/reference/using-api/server-side-apply).
    """
    entries = _mappings(_mapping(obj.get("metadata")).get("managedFields"))
    sets = [
        entry.get("fieldsV1")
        for entry in entries
        if entry.get("manager") == manager and entry.get("operation") == "Apply" and not entry.get("subresource")
    ]
    return hashlib.sha256(msgspec.json.encode(sets, order="deterministic")).hexdigest()[:16]


def applyset_id(name: str, namespace: str, kind: str, group: str) -> str:
    """The id of the ApplySet whose parent is the named object."""
    digest = hashlib.sha256(f"{name}.{namespace}.{kind}.{group}".encode()).digest()
    return f"applyset-{base64.urlsafe_b64encode(digest).decode().rstrip('=')}-v1"


def applyset_parent(
    parent: Mapping[str, Any], members: Iterable[Mapping[str, Any]], *, tooling: str = "moorage/v0"
) -> dict[str, Any]:
    """`parent` with the labels and annotations of an ApplySet that contains `members`.

    `tooling` is `<name>/<version>`, the version beginning with v. Kinds and namespaces are the members' own; while
    pruning, pass the old and the new members, so that nothing that is still there is out of sight.
    """
    marked = copy.deepcopy(dict(parent))
    metadata = marked.setdefault("metadata", {})
    group = _group(str(parent["apiVersion"]))
    namespace = str(metadata.get("namespace", ""))
    kinds, namespaces = set(), set()
    for member in members:
        member_group = _group(str(member["apiVersion"]))
        kinds.add(f"{member['kind']}.{member_group}" if member_group else str(member["kind"]))
        namespaces.add(str(member["metadata"].get("namespace", "")))
    labels = metadata.get("labels") or {}
    annotations = metadata.get("annotations") or {}
    metadata["labels"] = {
        **labels,
        APPLYSET_ID: applyset_id(str(metadata["name"]), namespace, str(parent["kind"]), group),
    }
    metadata["annotations"] = {
        **annotations,
        APPLYSET_TOOLING: tooling,
        APPLYSET_GROUP_KINDS: ",".join(sorted(kinds)),
        APPLYSET_NAMESPACES: ",".join(sorted(namespaces - {"", namespace})),
    }
    return marked


def applyset_member(obj: Mapping[str, Any], identity: str) -> dict[str, Any]:
    """`obj` labelled as part of the ApplySet with this id. The original is left as it is."""
    metadata = dict(obj.get("metadata") or {})
    metadata["labels"] = {**(metadata.get("labels") or {}), APPLYSET_PART_OF: identity}
    return {**obj, "metadata": metadata}


def _group(api_version: str) -> str:
    return api_version.rpartition("/")[0]


def _mapping(value: Any) -> dict[str, Any]:
    """What may be a mapping, as one: inline manifests are as their authors wrote them, and may be malformed."""
    return value if isinstance(value, dict) else {}


def _mappings(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _drop(mapping: dict[str, Any], *keys: str) -> None:
    for key in keys:
        mapping.pop(key, None)


def _drop_from(parent: dict[str, Any], field: str, keys: Iterable[str]) -> None:
    """Drop keys of a nested mapping, and the mapping itself if nothing else was in it."""
    mapping = parent.get(field)
    if isinstance(mapping, dict):
        _drop(mapping, *keys)
        if not mapping:
            del parent[field]


def _service(obj: dict[str, Any]) -> None:
    spec = _mapping(obj.get("spec"))
    if "clusterIPs" in spec:  # the server allocated, and chose the families with the addresses
        _drop(spec, "clusterIPs", "ipFamilies")
    if spec.get("clusterIP") != "None":  # None is the author's own: a headless Service
        _drop(spec, "clusterIP")
    _drop(spec, "healthCheckNodePort")
    for port in _mappings(spec.get("ports")):
        _drop(port, "nodePort")


def _claim(obj: dict[str, Any]) -> None:
    _drop(_mapping(obj.get("spec")), "volumeName")


def _job(obj: dict[str, Any]) -> None:
    spec = _mapping(obj.get("spec"))
    if spec.get("manualSelector"):
        return
    _drop(spec, "selector")
    for holder in (obj, _mapping(spec.get("template"))):
        _drop_from(_mapping(holder.get("metadata")), "labels", _JOB_LABELS)


def _pod(obj: dict[str, Any]) -> None:
    spec = _mapping(obj.get("spec"))
    _drop(spec, "nodeName")
    _drop_injected(spec, "volumes")
    for container in _mappings(spec.get("initContainers")) + _mappings(spec.get("containers")):
        _drop_injected(container, "volumeMounts")


def _drop_injected(holder: dict[str, Any], field: str) -> None:
    """The token volume that the source cluster's admission added."""
    if isinstance(holder.get(field), list):
        holder[field] = [
            each for each in holder[field] if not str(_mapping(each).get("name", "")).startswith("kube-api-access-")
        ]


def _service_account(obj: dict[str, Any]) -> None:
    _drop(obj, "secrets")  # tokens that the source cluster issued


def _namespace(obj: dict[str, Any]) -> None:
    _drop(obj, "spec")  # finalizers only
    _drop_from(_mapping(obj.get("metadata")), "labels", ("kubernetes.io/metadata.name",))


_BY_KIND: dict[tuple[str, str], Callable[[dict[str, Any]], None]] = {
    ("", "Namespace"): _namespace,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "Pod"): _pod,
    ("", "Service"): _service,
    ("", "ServiceAccount"): _service_account,
    ("batch", "Job"): _job,
}
