"""What a Placement selects in its workspace, from the live caches."""

from collections.abc import Sequence
from typing import Any

from services.controller.workload import Selected, select
from services.controller.workspace import SYNC_TIMEOUT, Unreadable, WorkspaceWatch
from shared.api import Placement, WorkloadSelector, matches, validate_placement
from shared.broker.bus import Retry
from shared.kube.apis import UnknownKind
from shared.model.refs import PlacementRef
from shared.model.request import WorkloadObject


async def of(
    ref: PlacementRef, watch: WorkspaceWatch, placement: Placement
) -> tuple[tuple[WorkloadObject, ...], tuple[str, ...], str]:
    """The objects that a placement selects, and the versions of what goes along with them; or one sentence that
    says why it cannot be placed as it is.
    """
    problems = validate_placement(placement)
    if problems:
        return (), (), "; ".join(problems)
    found: list[Selected] = []
    for index, selector in enumerate(placement.spec.workload):
        where = f"spec.workload[{index}]"
        try:
            informer = await watch.workload(selector.api_version, selector.kind)
        except UnknownKind as error:
            return (), (), f"{where}: workspace {ref.workspace or 'hub'} has no such kind: {error}"
        except Unreadable as error:
            return (), (), f"{where}: {selector.kind} objects cannot be read: {error}"
        except TimeoutError:
            raise Retry(5.0, f"{selector.kind} objects of {ref.workspace} are not read yet") from None
        selected = [each for key, each in informer.objects.items() if _selects(selector, ref, key, each.summary)]
        if not selected:
            wanted = f"{selector.kind} {_wanted(selector)} in namespace {ref.namespace}"
            return (), (), f"{where} selects nothing: no {wanted}"
        found += selected
    try:
        found += [select(manifest, ref.namespace) for manifest in placement.spec.manifests]
    except ValueError as error:
        return (), (), f"spec.manifests: {error}"
    unique = {each.summary.ref: each.summary for each in found}
    return tuple(unique[name] for name in sorted(unique)), await _along(ref, watch, placement, found), ""


async def _along(
    ref: PlacementRef, watch: WorkspaceWatch, placement: Placement, workload: Sequence[Selected]
) -> tuple[str, ...]:
    """The versions of what goes along with a workload by reference."""
    if not placement.spec.follow_references:
        watch.referred.forget(ref)
        return ()
    try:
        return await watch.referred.versions(ref, workload, SYNC_TIMEOUT)
    except TimeoutError:
        raise Retry(5.0, f"what {ref} refers to cannot be read") from None


def _selects(selector: WorkloadSelector, ref: PlacementRef, key: tuple[str, str], obj: WorkloadObject) -> bool:
    """Whether a selector of a placement means an object: in its own namespace, or a cluster-scoped one by name."""
    namespace, name = key
    if namespace not in (ref.namespace, ""):
        return False
    if selector.name is not None:
        return selector.name == name
    return namespace != "" and matches(selector.label_selector, obj.labels)


def _wanted(selector: WorkloadSelector) -> str:
    if selector.name is not None:
        return f"named {selector.name}"
    labels: Any = selector.label_selector
    pairs = ", ".join(f"{key}={value}" for key, value in sorted(labels.match_labels.items())) if labels else ""
    return f"with labels {pairs}" if pairs else "that its label selector matches"
