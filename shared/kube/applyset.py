"""kubectl's ApplySets (KEP-3659): a parent object names what was applied with it, so that any tool can see and prune.

Pure.
"""

import base64
import copy
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from shared.kube.resources import group_of

APPLYSET_ID = "applyset.kubernetes.io/id"


APPLYSET_PART_OF = "applyset.kubernetes.io/part-of"


APPLYSET_TOOLING = "applyset.kubernetes.io/tooling"


APPLYSET_GROUP_KINDS = "applyset.kubernetes.io/contains-group-kinds"


APPLYSET_NAMESPACES = "applyset.kubernetes.io/additional-namespaces"


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
    group = group_of(str(parent["apiVersion"]))
    namespace = str(metadata.get("namespace", ""))
    kinds, namespaces = set(), set()
    for member in members:
        member_group = group_of(str(member["apiVersion"]))
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
