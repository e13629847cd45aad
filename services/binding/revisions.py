"""What Placements with a rollout placed is kept, to go back to: PlacementRevisions, the newest few.

A revision is kept before it is applied anywhere. Of Secrets there are hashes only.
"""

import logging
from collections.abc import Iterable
from typing import Literal

import msgspec

from services.binding.core import Collected, Object, Wanted
from services.binding.records import Records
from shared.aio.lru import Lru
from shared.api import (
    API_VERSION,
    MOST_KEPT_BYTES,
    ObjectMeta,
    ObjectReference,
    OwnerReference,
    Placement,
    PlacementReference,
    PlacementRevision,
    PlacementRevisionSpec,
    PlacementSpec,
    RevisedObject,
)
from shared.hub.names import PLACEMENT_LABEL, label_value, revision_name
from shared.hub.rendering import source_hash
from shared.kube.errors import ApiError
from shared.kube.resources import group_of
from shared.kube.written import as_written
from shared.model.refs import PlacementRef
from shared.pipeline.messages import Assigned

log = logging.getLogger("moorage.binding")

_REMEMBERED = 2_000  # placements whose newest revision is on record


class Revisions:
    """Those of all placements. Raises what the hub answers, but for what it does not serve or let us do."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._kept: Lru[tuple[PlacementRef, str], str] = Lru(_REMEMBERED)

    async def keep(self, message: Assigned, placement: Placement, wanted: Wanted) -> None:
        """Have on record what is about to be applied, where the Placement has a rollout that keeps revisions."""
        rollout, ref, collected = placement.spec.rollout, message.placement, wanted.collected
        if rollout is None or collected is None or not rollout.revision_history_limit:
            return
        key = (ref, message.head.uid)
        if self._kept.get(key) == wanted.revision:
            return
        made = revision_of(message, placement.spec, collected, wanted.revision)
        try:
            await self._records.keep(ref, made)
            others, bindings = await self._records.revisions(ref), await self._records.others(ref)
            used = {each.spec.revision for each in bindings}
            for each in outlived(ref.name, others, used, rollout.revision_history_limit):
                await self._records.forget_revision(ref, each)
        except ApiError as error:
            if not (error.not_found or error.forbidden):
                raise
            log.warning("a revision is not kept", extra={"of": str(ref), "error": str(error)})  # a hub of before
        self._kept.put(key, wanted.revision)


def revision_of(message: Assigned, spec: PlacementSpec, collected: Collected, revision: str) -> PlacementRevision:
    """What is placed, as it is kept: with contents, but for Secrets, and where it is too large."""
    ref, selected = message.placement, len(collected.workload) - len(spec.manifests)  # manifests are the last of it
    objects = [
        *(_kept(each, "Workload") for each in collected.workload[:selected]),
        *(_kept(each, "Manifest") for each in collected.workload[selected:]),
        *(_kept(each, "Reference") for each in collected.referred),
    ]
    if len(msgspec.json.encode(objects)) > MOST_KEPT_BYTES:
        objects = [msgspec.structs.replace(each, content=None) for each in objects]
    owner = OwnerReference(api_version=API_VERSION, kind="Placement", name=ref.name, uid=message.head.uid)
    return PlacementRevision(
        metadata=ObjectMeta(
            name=revision_name(ref.name, revision),
            namespace=ref.namespace,
            labels={PLACEMENT_LABEL: label_value(ref.name)},
            owner_references=(owner,),
        ),
        spec=PlacementRevisionSpec(
            placement_ref=PlacementReference(name=ref.name, namespace=ref.namespace, uid=message.head.uid),
            revision=revision,
            attempt=message.head.attempt,
            objects=tuple(objects),
            overrides=spec.overrides,
        ),
    )


def _kept(obj: Object, source: Literal["Workload", "Manifest", "Reference"]) -> RevisedObject:
    metadata, secret = obj["metadata"], (group_of(str(obj["apiVersion"])), obj["kind"]) == ("", "Secret")
    return RevisedObject(
        ref=ObjectReference(
            api_version=obj["apiVersion"],
            kind=obj["kind"],
            name=metadata["name"],
            namespace=metadata.get("namespace") or "",
        ),
        source=source,
        hash=source_hash(obj),
        content=None if secret else as_written(obj),
    )


def outlived(
    name: str, revisions: Iterable[PlacementRevision], used: Iterable[str], limit: int
) -> list[PlacementRevision]:
    """The revisions of the Placement of this name that are not kept any more: neither the newest, nor `used`."""
    ours = [each for each in revisions if each.spec.placement_ref.name == name]
    newest_first = sorted(ours, key=lambda each: -each.spec.attempt)
    return [each for each in newest_first[limit:] if each.spec.revision not in set(used)]
