"""Facts on a target that rules and required affinity terms read, and by which a placement has to leave it. Pure.

They go by the names that rules have for them (`target.labels`, `target.kubernetesVersion`). What is a matter of load
(what is used, free or allocated, latency, scores), or passes by itself (`ready`), is none of them: a placement does not
leave a target because that is busier than it was when it was decided.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from shared.api import Affinity, LabelSelector
from shared.model.target import Target

FACTS: dict[str, Callable[[Target], Any]] = {
    "allocatable": lambda target: target.allocatable,
    "apis": lambda target: target.apis,
    "capacity": lambda target: target.capacity,
    "cost": lambda target: (target.cost_per_cpu_hour, target.cost_per_gib_hour),
    "kubernetesVersion": lambda target: target.kubernetes_version,
    "labels": lambda target: target.labels,
    "nodes": lambda target: target.nodes,
    "taints": lambda target: [(each.key, each.value, each.effect) for each in target.taints],
    "unschedulable": lambda target: target.unschedulable,
}

UNSURE = "?"
"""In place of a digest, where it is not known whether a rule saw the target as it is."""


def deciding(paths: Iterable[tuple[str, ...]] | None) -> set[str]:
    """The facts at these paths of `target` (None: all there are), as `labels.region` or `nodes`."""
    if paths is None:
        return set(FACTS)
    return {".".join(path) for path in paths if path and path[0] in FACTS}


def selector_facts(selector: LabelSelector | None) -> set[str]:
    """The labels that a selector looks at."""
    if selector is None:
        return set()
    keys = {*selector.match_labels, *(each.key for each in selector.match_expressions)}
    return {f"labels.{key}" for key in keys}


def affinity_facts(affinity: Affinity) -> set[str]:
    """The labels that required terms look at, those of tiers among them."""
    terms = (*affinity.required, *(term for tier in affinity.tiers for term in tier.required))
    return {f"labels.{each.key}" for term in terms for each in term.match_expressions}


def facts_digest(target: Target, facts: Iterable[str]) -> str:
    """A digest of these facts as they are on a target; empty where there are none."""
    found = {name: _value(target, name) for name in sorted(facts)}
    if not found:
        return ""
    return hashlib.sha256(msgspec.json.encode(found, order="deterministic")).hexdigest()[:16]


def all_facts(target: Target) -> tuple[Any, ...]:
    """All facts, to see whether any of them changed."""
    return tuple(read(target) for read in FACTS.values())


def _value(target: Target, name: str) -> Any:
    field, _, key = name.partition(".")
    read = FACTS.get(field)
    if read is None:
        return None  # another version of Moorage knows it
    value = read(target)
    if not key:
        return value
    return value.get(key) if isinstance(value, Mapping) else None
