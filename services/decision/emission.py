"""PlacementDecisions of SIG Multicluster beside ours, slice by slice, where that is switched on (KEP-5313).

Ours are the truth. Those of the SIG are made of them alone: as soon as one is written, and again within a minute where
that failed or somebody changed them. So nothing that is decided waits for them.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from shared.api import PlacementDecision, to_dict
from shared.hub.hub import Hub
from shared.hub.names import DECISION_INDEX_LABEL, DECISION_KEY_LABEL, field_manager
from shared.hub.resources import DECISIONS
from shared.kube.client import Client
from shared.kube.errors import ApiError, KubeError
from shared.kube.resources import Resource

log = logging.getLogger("moorage.decision")

STANDARD = Resource("multicluster.x-k8s.io", "v1alpha1", "placementdecisions", kind="PlacementDecision")
SCHEDULER = "moorage"
FIELD_MANAGER = field_manager("decision")
LABELS = (DECISION_KEY_LABEL, DECISION_INDEX_LABEL)


def standard(ours: PlacementDecision, profiles: str) -> dict[str, Any]:
    """A slice as SIG Multicluster has it: of the same name, with the same labels and owner.

    `profiles`: the namespace of the ClusterProfiles, which are called as the targets; empty: the decision's own.
    """
    metadata = to_dict(ours)["metadata"]
    kept = {name: metadata[name] for name in ("name", "namespace", "ownerReferences") if name in metadata}
    labels = {name: value for name, value in metadata.get("labels", {}).items() if name in LABELS}
    namespace = {"namespace": profiles} if profiles else {}
    return {
        "apiVersion": STANDARD.api_version,
        "kind": STANDARD.kind,
        "metadata": {**kept, "labels": labels},
        "schedulerName": SCHEDULER,
        "decisions": [
            {"clusterProfileRef": {"name": each.target.name, **namespace}, "reason": each.reason}
            for each in ours.status.selected
        ],
    }


class Emission:
    """Writes them. Failures are logged and made up for by `put_in_order`; none is raised."""

    def __init__(self, hub: Hub, profiles: str) -> None:
        self._hub = hub
        self._profiles = profiles
        self._without: set[str] = set()
        """Workspaces that do not serve the kind, as was said already."""

    async def write(self, workspace: str, slices: Iterable[PlacementDecision]) -> None:
        """As was just decided."""
        client = self._hub.at(workspace)
        try:
            for each in slices:
                await client.apply(STANDARD, standard(each, self._profiles), field_manager=FIELD_MANAGER, force=True)
        except KubeError as error:
            self._later(workspace, error)

    async def delete(self, workspace: str, namespace: str, names: Iterable[str]) -> None:
        """Those of slices that are no more."""
        client = self._hub.at(workspace)
        try:
            for name in names:
                await _gone(client, name, namespace)
        except KubeError as error:
            self._later(workspace, error)

    async def put_in_order(self, workspace: str) -> None:
        """Write what is missing or differs, and delete what is of no decision of ours.

        Only upon what was read: whatever was written meanwhile is newer.
        """
        client = self._hub.at(workspace)
        try:
            theirs = {
                _key(each): each
                for each in (await client.list(STANDARD)).items
                if each.get("schedulerName") == SCHEDULER
            }
            ours = (await client.list(DECISIONS, type=PlacementDecision)).items
            wanted = {_key(each): each for each in (standard(one, self._profiles) for one in ours)}
            for key, each in wanted.items():
                if not _alike(theirs.get(key), each):
                    await _put(client, each, theirs.get(key))
            for key in theirs.keys() - wanted.keys():
                await _gone(client, key[1], key[0], theirs[key]["metadata"]["resourceVersion"])
        except KubeError as error:
            self._later(workspace, error)
        else:
            self._without.discard(workspace)

    def _later(self, workspace: str, error: KubeError) -> None:
        if isinstance(error, ApiError) and error.not_found:
            if workspace not in self._without:
                self._without.add(workspace)
                log.warning("no PlacementDecisions of multicluster.x-k8s.io are served", extra={"workspace": workspace})
            return
        log.warning(
            "the PlacementDecisions of SIG Multicluster are written later",
            extra={"workspace": workspace, "error": str(error)},
        )


def _key(obj: Mapping[str, Any]) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _alike(there: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> bool:
    """Whether what is there says what is wanted; what else there is of labels and metadata is others'."""
    if there is None:
        return False
    labels, metadata = there["metadata"].get("labels", {}), wanted["metadata"]
    same = all(there.get(name) == wanted[name] for name in ("decisions", "schedulerName"))
    return same and all(labels.get(name) == value for name, value in metadata["labels"].items())


async def _put(client: Client, wanted: dict[str, Any], there: Mapping[str, Any] | None) -> None:
    if there is not None:
        wanted = {**wanted, "metadata": {**wanted["metadata"], "resourceVersion": there["metadata"]["resourceVersion"]}}
    try:
        await client.apply(STANDARD, wanted, field_manager=FIELD_MANAGER, force=True)
    except ApiError as error:
        if not error.conflict:
            raise


async def _gone(client: Client, name: str, namespace: str, version: str = "") -> None:
    try:
        await client.delete(STANDARD, name, namespace, resource_version=version)
    except ApiError as error:
        if not (error.conflict or error.absent(name)):
            raise
