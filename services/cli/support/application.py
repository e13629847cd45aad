"""A whole application, as charts render it, as one Placement: `moorage place --name`. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from shared.api.synctarget import REGION_LABEL, ZONE_LABEL
from shared.hub.resources import PLACEMENTS
from shared.hub.selecting import COMMON
from shared.kube.resources import group_of

Object = Mapping[str, Any]

SELECTED: Final = frozenset((group_of(api_version), kind) for api_version, kind in COMMON)
"""These are made in the workspace, and selected by name. What is of another kind (definitions, custom resources, roles)
comes inline: no workspace need serve it."""

MOST: Final = 64
"""Objects that a Placement names, and as many inline."""

SHORT: Final = {"region": REGION_LABEL, "zone": ZONE_LABEL}
"""What `--to region=eu` stands for."""

_HOOK = "helm.sh/hook"


class NoApplication(ValueError):
    """These objects cannot be placed as one; the message says why, and what to do."""


def application(
    objects: Iterable[Object], name: str, namespace: str, to: Mapping[str, str], count: int | str
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The Placement of all objects, in the order in which they were written, and the objects that it selects.

    Objects without a namespace are in `namespace`. Tests of a chart (hooks) are left out. Raises NoApplication.
    """
    selected: list[dict[str, Any]] = []
    inline: list[dict[str, Any]] = []
    for each in objects:
        if is_test(each):
            continue
        group, kind = group_of(each.get("apiVersion", "")), each["kind"]
        found, where = each["metadata"]["name"], each["metadata"].get("namespace")
        if (group, kind) == ("", "Namespace"):
            raise NoApplication(f"Namespace {found}: a namespace is made where something is placed: leave it out")
        if where not in (None, namespace):
            raise NoApplication(
                f"{kind} {found} is in the namespace {where}: an application is in one: -n says which, now {namespace}"
            )
        if (group, kind) in SELECTED:
            selected.append({**each, "metadata": {**each["metadata"], "namespace": namespace}})
        else:
            inline.append(dict(each))
    if not selected and not inline:
        raise NoApplication("there is nothing to place")
    for some, how in ((selected, "that a Placement names"), (inline, "that come inline")):
        if len(some) > MOST:
            raise NoApplication(
                f"{len(some)} objects {how}, and {MOST} is the most: give them a label, and write a Placement that "
                "selects all by it, with workload: [{all: true, labelSelector: …}]"
            )
    return _placement(selected, inline, name, namespace, to, count), selected


def _placement(
    selected: Sequence[Object],
    inline: Sequence[Object],
    name: str,
    namespace: str,
    to: Mapping[str, str],
    count: int | str,
) -> dict[str, Any]:
    targets: dict[str, Any] = {"count": {"min": count}}
    if to:
        targets["selector"] = {"matchLabels": {SHORT.get(key, key): value for key, value in to.items()}}
    spec: dict[str, Any] = {"targets": targets}
    if selected:
        spec["workload"] = [
            {"apiVersion": each["apiVersion"], "kind": each["kind"], "name": each["metadata"]["name"]}
            for each in selected
        ]
    if inline:
        spec["manifests"] = list(inline)
    return {
        "apiVersion": PLACEMENTS.api_version,
        "kind": PLACEMENTS.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def is_test(obj: Object) -> bool:
    """Whether an object is a test of a chart, which Helm runs on demand and never installs."""
    hooks = str((obj["metadata"].get("annotations") or {}).get(_HOOK, "")).split(",")
    return any(each.strip().startswith("test") for each in hooks)
