"""Terms: what the owner of a target lets be placed there, by namespace and by kind."""

from collections.abc import Iterator

import numpy as np

from services.scheduler.candidates import Candidates
from services.scheduler.filters.exclusion import Exclusion
from services.scheduler.snapshot import ANYBODYS
from shared.hub.terms import allows_kind, is_protected, namespace_in
from shared.kube.resources import group_of


def terms(candidates: Candidates) -> Iterator[Exclusion]:
    """Targets where the namespace is out of bounds, or that do not take a kind of the workload.

    That holds for what runs there, too: binding would not apply it any more.
    """
    placement, workload = candidates.request.placement, candidates.request.workload
    column = candidates.snapshot.codes("terms")
    codes = column.values[candidates.index]
    there = [namespace_in(each, placement.workspace, placement.namespace) for each in column.distinct]
    protected = [is_protected(each, namespace) for each, namespace in zip(column.distinct, there, strict=True)]
    if any(protected):
        yield Exclusion("NamespaceProtected", f"protecting namespace {placement.namespace}", np.array(protected)[codes])
    claimants = candidates.snapshot.codes("claimant", placement.namespace)
    claimed = ~claimants.among((ANYBODYS, placement.workspace))[claimants.values[candidates.index]]
    yield Exclusion("NamespaceClaimed", f"not giving us namespace {placement.namespace}", claimed)
    for api_version, kind in dict.fromkeys((each.api_version, each.kind) for each in workload if each.guarded):
        closed = np.array([not allows_kind(each, api_version, kind) for each in column.distinct], np.bool_)
        yield Exclusion("KindNotAllowed", f"not allowing {kind}", closed[codes])
    for api_version, kind in dict.fromkeys((each.api_version, each.kind) for each in workload):
        outside = candidates.values("has_no_namespace", (group_of(api_version), kind))
        if np.count_nonzero(outside):
            closed = np.array([not allows_kind(each, api_version, kind) for each in column.distinct], np.bool_)
            yield Exclusion("KindNotAllowed", f"not allowing {kind}, which has no namespace", outside & closed[codes])
