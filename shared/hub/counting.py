"""The demand of a Placement, counted: the objects of a target, made as they would be applied, and counted."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from shared.api import PlacementSpec, TargetOverride
from shared.hub.declared import digest_of
from shared.hub.kinds import BUILT_IN, Kinds, is_built_in, kind_named
from shared.hub.rendering import Object, divides, input_digest, matching, rendered
from shared.hub.workload import summarize_all
from shared.kube.objects import content_hash
from shared.kube.written import as_written
from shared.model.refs import PlacementRef, above
from shared.model.request import Variant, WorkloadObject
from shared.model.target import Target

MOST_VARIANTS = 32
MOST_WORK = 4096
"""Operations of JSON Patches, each once for each object, that are carried out to count one placement."""

Places = tuple[int, ...]
"""Overrides by their places in the spec."""


class Counted(msgspec.Struct, frozen=True):
    """The demand of a placement: where no override holds, and with each set of them; or one sentence that says why it
    cannot be placed as it is."""

    workload: tuple[WorkloadObject, ...] = ()
    variants: tuple[Variant, ...] = ()
    error: str = ""


class CountedDemand(msgspec.Struct, frozen=True):
    """A demand, and the digest of all that decides what is applied for it; see `input_digest`."""

    counted: Counted = Counted()
    digest: str = ""


def demand(
    spec: PlacementSpec,
    ref: PlacementRef,
    objects: Sequence[Mapping[str, Any]],
    targets: Iterable[Target],
    kinds: Kinds = BUILT_IN,
) -> CountedDemand:
    """The demand of a placement of these objects, its manifests among them, with what overrides make of it in some of
    the `targets`."""
    if not objects:
        return CountedDemand()
    sets = occurring(spec.overrides, targets, above(ref.workspace)) if spec.overrides else ()
    declared = digest_of(kinds, {(str(each.get("apiVersion")), str(each.get("kind"))) for each in objects})
    written = [as_written(each) for each in objects]
    digest = input_digest(spec, [content_hash(each) for each in written], declared)
    return CountedDemand(_count(spec, ref.namespace, written, sets, kinds), digest)


def count(
    spec: PlacementSpec,
    namespace: str,
    objects: Sequence[Mapping[str, Any]],
    sets: Iterable[Places] = (),
    kinds: Kinds = BUILT_IN,
) -> Counted:
    """The demand of a placement of these objects (and its manifests, which are among them).

    `sets` are the sets of overrides that hold in targets, those first that are to be counted in any case: at most
    `MOST_VARIANTS` are, and no more than `MOST_WORK` allows. `kinds` are those that the workspace knows.
    """
    return _count(spec, namespace, map(as_written, objects), sets, kinds)


def _count(
    spec: PlacementSpec, namespace: str, written: Iterable[Object], sets: Iterable[Places], kinds: Kinds
) -> Counted:
    """The same for objects as they were written, which is found out once for all that is counted."""
    try:
        objects = list(written)
        workload = summarize_all(rendered(spec, namespace, objects, kinds=kinds).objects, kinds)
    except ValueError as error:
        return Counted(error=str(error))
    variants: list[Variant] = []
    work = 0
    for places in sets:
        work += len(objects) * sum(len(spec.overrides[place].patches) for place in places)
        if len(variants) == MOST_VARIANTS or work > MOST_WORK:
            break
        variants.append(_variant(spec, namespace, objects, places, kinds))
    return Counted(workload, tuple(variants))


def _variant(spec: PlacementSpec, namespace: str, objects: Sequence[Object], places: Places, kinds: Kinds) -> Variant:
    try:
        found = summarize_all(rendered(spec, namespace, objects, places, kinds=kinds).objects, kinds)
    except ValueError as error:
        return Variant(overrides=places, error=str(error))
    bare = tuple(msgspec.structs.replace(each, labels={}, hash="") for each in found)  # nobody asks for these
    return Variant(overrides=places, workload=bare)


def counts_by_content(spec: PlacementSpec, selected: Collection[tuple[str, str]]) -> bool:
    """True if the objects themselves are needed to count, and not only what each of them asks for by itself.

    `selected` are the API versions and kinds of the objects.
    """
    if spec.overrides or spec.manifests:
        return True
    kinds = [kind_named(*each) for each in selected]
    if not all(is_built_in(*each) for each in selected):
        return True  # it may have pods where nobody knows
    versions: dict[str, set[str]] = {}
    for api_version, kind in selected:
        versions.setdefault(kind, set()).add(api_version)
    return (
        any(kind.autoscales or kind.unsettles for kind in kinds)
        or (divides(spec) and (any(kind.completions for kind in kinds) or not any(kind.counted for kind in kinds)))
        or any(len(names) > 1 for names in versions.values())  # it may be one object in two versions
    )


def occurring(overrides: Sequence[TargetOverride], targets: Iterable[Target], near: Collection[str]) -> list[Places]:
    """The sets of overrides that hold in some target, each once; none is no set.

    First come those of targets that `near` workspaces offer, then those of most targets, so that nobody keeps a
    placement from being counted by offering targets with many labels.
    """
    keys = sorted({key for each in overrides for key in _keys(each)})
    seen = Counter((target.workspace in near, tuple(target.labels.get(key) for key in keys)) for target in targets)
    found: dict[Places, tuple[int, int]] = {}
    for (is_near, values), many in seen.items():
        labels = {key: value for key, value in zip(keys, values, strict=True) if value is not None}
        if places := matching(overrides, labels):
            before = found.get(places, (0, 0))
            found[places] = (before[0] + many * is_near, before[1] + many)
    return sorted(found, key=lambda places: (*(-number for number in found[places]), places))


def _keys(override: TargetOverride) -> set[str]:
    selector = override.target_selector
    if selector is None:
        return set()
    return {*selector.match_labels, *(each.key for each in selector.match_expressions)}
