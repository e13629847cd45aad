"""Filters: which candidates fall out, and why. One function per file, all listed here, asked in this order.

A filter yields exclusions, each over all candidates at once. A target that several exclude is counted under the first.
"""

from services.scheduler.filters.affinity import required_affinity
from services.scheduler.filters.apis import missing_api
from services.scheduler.filters.exclusion import Exclusion, Filter
from services.scheduler.filters.fit import fit
from services.scheduler.filters.neighbours import neighbours
from services.scheduler.filters.overrides import overrides
from services.scheduler.filters.plugins import plugins
from services.scheduler.filters.preempted import preempted
from services.scheduler.filters.quota import quota
from services.scheduler.filters.readiness import not_ready
from services.scheduler.filters.selection import not_selected
from services.scheduler.filters.taints import taints
from services.scheduler.filters.terms import terms
from services.scheduler.filters.topology import topology
from services.scheduler.filters.unschedulable import unschedulable
from services.scheduler.filters.weight import weight

FILTERS: dict[str, Filter] = {
    "Preempted": preempted,
    "Selection": not_selected,
    "Unschedulable": unschedulable,
    "Readiness": not_ready,
    "Taints": taints,
    "APIs": missing_api,
    "Terms": terms,
    "Affinity": required_affinity,
    "Neighbours": neighbours,
    "Topology": topology,
    "Weight": weight,
    "Overrides": overrides,
    "Fit": fit,
    "Quota": quota,
    "Plugins": plugins,
}

BY_FACTS = ("Selection", "Unschedulable", "Readiness", "Taints", "APIs", "Terms", "Affinity", "Topology", "Weight")
"""Filters that look at facts on targets alone, where nothing runs yet (see `Candidates.alike`)."""
OTHERS = tuple(name for name in FILTERS if name not in BY_FACTS)
"""Those that look at what is taken too. Where requests ask alike, the ones before Fit exclude nobody."""

__all__ = ["BY_FACTS", "FILTERS", "OTHERS", "Exclusion", "Filter"]
