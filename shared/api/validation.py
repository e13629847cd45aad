"""Validation of a Placement beyond its schema, each finding as one sentence that names the field's path.

What the CRD's CEL rules say as well is repeated here, because a Placement may also come over the bus.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator

import msgspec

from shared.api.meta import percent
from shared.api.placement import (
    MAX_MANIFEST_BYTES,
    MOST_WEIGHT,
    Count,
    PatchOperation,
    Placement,
    PlacementSpec,
    Replicas,
    SpreadConstraint,
    Strategy,
    Targets,
)
from shared.api.policy import Rule
from shared.api.selectors import (
    AffinityRequirement,
    LabelRequirement,
    LabelSelector,
    Toleration,
    canonical_int64,
    int64,
)
from shared.api.workload_selector import WorkloadSelector

KNOWN_SCORERS = ("Resource", "Affinity", "Load", "Latency", "Locality", "Cost", "Amount", "Steady", "Spread")
SCORER_FAMILIES = ("Custom:", "Plugin:")
"""Scorers that are named by whoever provides them: scores on SyncTargets, or a plugin."""


def validate_placement(placement: Placement, known_scorers: Collection[str] = KNOWN_SCORERS) -> list[str]:
    """Everything that is wrong with the Placement, in the order of its fields; empty when nothing is."""
    return list(_placement(placement.spec, known_scorers))


def _placement(spec: PlacementSpec, known_scorers: Collection[str]) -> Iterator[str]:
    if not spec.workload and not spec.manifests:
        yield "spec: workload or manifests must name something to place."
    for index, workload in enumerate(spec.workload):
        yield from _workload(f"spec.workload[{index}]", workload)
    yield from _manifests(spec)
    yield from _targets("spec.targets", spec.targets)
    yield from _affinity("spec.affinity", spec)
    for index, constraint in enumerate(spec.spread):
        yield from _spread(f"spec.spread[{index}]", constraint)
    yield from _unique("spec.spread", "topologyKey", (constraint.topology_key for constraint in spec.spread))
    yield from _strategy("spec.strategy", spec.strategy, known_scorers)
    for index, rule in enumerate(spec.policies):
        yield from _rule(f"spec.policies[{index}]", rule)
    yield from _unique("spec.policies", "name", (rule.name for rule in spec.policies))
    yield from _replicas("spec.replicas", spec.replicas)
    for index, override in enumerate(spec.overrides):
        yield from _selector(f"spec.overrides[{index}].targetSelector", override.target_selector)
        for number, patch in enumerate(override.patches):
            yield from _patch(f"spec.overrides[{index}].patches[{number}]", patch)


def _workload(path: str, workload: WorkloadSelector) -> Iterator[str]:
    if (workload.name is None) == (workload.label_selector is None):
        yield f"{path}: exactly one of name and labelSelector must be given."
    if workload.all:
        yield from _all(path, workload)
    elif not (workload.api_version and workload.kind):
        yield f"{path}: apiVersion and kind must be given, or all and a labelSelector in place of them."
    yield from _selector(f"{path}.labelSelector", workload.label_selector)


def _all(path: str, workload: WorkloadSelector) -> Iterator[str]:
    if workload.api_version or workload.kind or workload.name is not None:
        yield f"{path}: all takes every common kind: apiVersion, kind and name must not be given with it."
    labels = workload.label_selector
    if labels is not None and not labels.match_labels and not labels.match_expressions:
        yield f"{path}.labelSelector: all takes what has some label: one must be named."


def _manifests(spec: PlacementSpec) -> Iterator[str]:
    for index, manifest in enumerate(spec.manifests):
        metadata = manifest.get("metadata")
        named = isinstance(metadata, dict) and metadata.get("name")
        if not (manifest.get("apiVersion") and manifest.get("kind") and named):
            yield f"spec.manifests[{index}]: apiVersion, kind and metadata.name must be given."
    size = len(msgspec.json.encode(spec.manifests))
    if size > MAX_MANIFEST_BYTES:
        yield f"spec.manifests: {size} bytes are more than the {MAX_MANIFEST_BYTES} that fit inline."


def _targets(path: str, targets: Targets) -> Iterator[str]:
    yield from _selector(f"{path}.workspaces.selector", targets.workspaces.selector)
    yield from _selector(f"{path}.selector", targets.selector)
    if targets.all and targets.count is not None:
        yield f"{path}: all and count exclude each other."
    if targets.count is not None:
        yield from _count(f"{path}.count", targets.count)
    for index, toleration in enumerate(targets.tolerations):
        yield from _toleration(f"{path}.tolerations[{index}]", toleration)


def _count(path: str, count: Count) -> Iterator[str]:
    """Only like can be compared: what percentages come to is known when targets are."""
    least, most = count.min, count.max
    if isinstance(least, int) and isinstance(most, int):
        contradicting = least > most
    else:
        contradicting = isinstance(least, str) and isinstance(most, str) and percent(least) > percent(most)
    if contradicting:
        yield f"{path}: min {least} must not be above max {most}."
    elif least == 0 and most not in (None, 0):
        yield f"{path}: min 0 goes with no max above 0; where one target will do, min is 1."


def _toleration(path: str, toleration: Toleration) -> Iterator[str]:
    if not toleration.key and toleration.operator != "Exists":
        yield f"{path}: operator must be Exists when key is empty."
    if toleration.operator == "Exists" and toleration.value:
        yield f"{path}: value must be empty when operator is Exists."
    if toleration.operator in {"Gt", "Lt"} and canonical_int64(toleration.value) is None:
        yield f"{path}: value must be a whole number, as people write it, for Gt and Lt."
    if toleration.toleration_seconds is not None and toleration.effect != "NoExecute":
        yield f"{path}: tolerationSeconds goes with the effect NoExecute only."


def _affinity(path: str, spec: PlacementSpec) -> Iterator[str]:
    affinity = spec.affinity
    for index, term in enumerate(affinity.required):
        yield from _requirements(f"{path}.required[{index}].matchExpressions", term.match_expressions)
    for index, preferred in enumerate(affinity.preferred):
        yield from _requirements(f"{path}.preferred[{index}].matchExpressions", preferred.match_expressions)
        if preferred.weight < 0:
            yield f"{path}.preferred[{index}].weight: must not be negative."
    for index, tier in enumerate(affinity.tiers):
        for number, term in enumerate(tier.required):
            yield from _requirements(
                f"{path}.tiers[{index}].required[{number}].matchExpressions", term.match_expressions
            )
    yield from _unique(f"{path}.tiers", "name", (tier.name for tier in affinity.tiers))
    for name, terms in (
        ("placementAffinity", affinity.placement_affinity),
        ("placementAntiAffinity", affinity.placement_anti_affinity),
    ):
        for index, near in enumerate(terms):
            yield from _selector(f"{path}.{name}[{index}].selector", near.selector)
            if not near.topology_key:
                yield f"{path}.{name}[{index}].topologyKey: must be given."


def _spread(path: str, constraint: SpreadConstraint) -> Iterator[str]:
    if not constraint.topology_key:
        yield f"{path}.topologyKey: must be given."
    least, most = constraint.min_domains, constraint.max_domains
    if least is not None and most is not None and least > most:
        yield f"{path}: minDomains {least} must not be above maxDomains {most}."


def _strategy(path: str, strategy: Strategy, known_scorers: Collection[str]) -> Iterator[str]:
    for index, scorer in enumerate(strategy.scorers):
        named = scorer.name.startswith(SCORER_FAMILIES) and scorer.name not in SCORER_FAMILIES
        if scorer.name not in known_scorers and not named:
            known = ", ".join((*known_scorers, *(f"{family}<name>" for family in SCORER_FAMILIES)))
            yield f"{path}.scorers[{index}].name: {scorer.name!r} is no known scorer; known are {known}."
        if scorer.weight is not None and not abs(scorer.weight) <= MOST_WEIGHT:
            yield f"{path}.scorers[{index}].weight: must be a number from -{MOST_WEIGHT} to {MOST_WEIGHT}."
    yield from _unique(f"{path}.scorers", "name", (scorer.name for scorer in strategy.scorers))


def _rule(path: str, rule: Rule) -> Iterator[str]:
    if not rule.expression.strip():
        yield f"{path}.expression: must not be blank."
    if rule.weight < 0:
        yield f"{path}.weight: must not be negative."
    if rule.message is not None and rule.message_expression is not None:
        yield f"{path}: message and messageExpression exclude each other."


def _replicas(path: str, replicas: Replicas) -> Iterator[str]:
    for index, weight in enumerate(replicas.weights):
        if (weight.selector is None) == (weight.target is None):
            yield f"{path}.weights[{index}]: exactly one of selector and target must be given."
        yield from _selector(f"{path}.weights[{index}].selector", weight.selector)
        if weight.weight < 0:
            yield f"{path}.weights[{index}].weight: must not be negative."
    least, most = replicas.min_per_target, replicas.max_per_target
    if least is not None and most is not None and least > most:
        yield f"{path}: minPerTarget {least} must not be above maxPerTarget {most}."
    if replicas.division == "Duplicated" and (least is not None or most is not None):
        yield f"{path}: minPerTarget and maxPerTarget need replicas that are divided."


def _patch(path: str, patch: PatchOperation) -> Iterator[str]:
    if patch.op in {"add", "replace", "test"} and patch.value is msgspec.UNSET:
        yield f"{path}.value: must be given for {patch.op}."
    if patch.op in {"move", "copy"} and patch.from_ is None:
        yield f"{path}.from: must be given for {patch.op}."
    for name, pointer in (("path", patch.path), ("from", patch.from_)):
        if pointer and not pointer.startswith("/"):
            yield f"{path}.{name}: {pointer!r} is no JSON Pointer, it must begin with a slash."


def _selector(path: str, selector: LabelSelector | None) -> Iterator[str]:
    if selector is not None:
        yield from _requirements(f"{path}.matchExpressions", selector.match_expressions)


def _requirements(path: str, requirements: Iterable[LabelRequirement | AffinityRequirement]) -> Iterator[str]:
    for index, requirement in enumerate(requirements):
        values = requirement.values
        if requirement.operator in {"In", "NotIn"} and not values:
            yield f"{path}[{index}].values: must name at least one value for {requirement.operator}."
        if requirement.operator in {"Exists", "DoesNotExist"} and values:
            yield f"{path}[{index}].values: must be empty for {requirement.operator}."
        if requirement.operator in {"Gt", "Lt"} and len(values) != 1:
            yield f"{path}[{index}].values: must hold exactly one integer for {requirement.operator}."
        elif requirement.operator in {"Gt", "Lt"} and int64(values[0]) is None:
            yield f"{path}[{index}].values: {values[0]!r} is no integer, which {requirement.operator} needs."


def _unique(path: str, field: str, values: Iterable[str]) -> Iterator[str]:
    for value, count in Counter(values).items():
        if count > 1:
            yield f"{path}: {field} {value!r} is given {count} times, it must be unique."
