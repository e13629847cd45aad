"""Affinity of a Placement: to targets and to other Placements."""

from typing import Annotated

from msgspec import Meta

from shared.api.meta import ApiStruct, LabelKey, Name
from shared.api.selectors import AffinityRequirement, LabelSelector


class AffinityTerm(ApiStruct, frozen=True, kw_only=True):
    """Conditions on a target's labels that must all hold."""

    match_expressions: Annotated[
        tuple[AffinityRequirement, ...],
        Meta(description="Conditions, all of which must hold.", min_length=1, max_length=32),
    ]


class PreferredTerm(AffinityTerm, frozen=True, kw_only=True):
    """Conditions that make a target better where they hold."""

    weight: Annotated[int, Meta(description="How much it counts among the preferred terms.", ge=1, le=100)] = 1


class PlacementAffinityTerm(ApiStruct, frozen=True, kw_only=True):
    """Other placements that this one wants near, or far."""

    selector: Annotated[LabelSelector, Meta(description="Labels of the other placements, in the same namespace.")]
    topology_key: Annotated[LabelKey, Meta(description="Label of targets whose equal values count as one place.")]


class AffinityTier(ApiStruct, frozen=True, kw_only=True):
    """Targets that are preferred to those of all later tiers while they can take the whole placement."""

    name: Annotated[Name, Meta(description="Name of the tier, for messages.")]
    required: Annotated[
        tuple[AffinityTerm, ...],
        Meta(description="A target of the tier satisfies at least one of the terms; empty means any.", max_length=16),
    ] = ()


class Affinity(ApiStruct, frozen=True, kw_only=True):
    """Required and preferred properties of targets, and other placements to be near to or far from."""

    required: Annotated[
        tuple[AffinityTerm, ...], Meta(description="A target must satisfy at least one of the terms.", max_length=16)
    ] = ()
    preferred: Annotated[
        tuple[PreferredTerm, ...], Meta(description="A target is better the more weight it satisfies.", max_length=16)
    ] = ()
    tiers: Annotated[
        tuple[AffinityTier, ...],
        Meta(
            description="Groups of targets that are tried in order: the first that can take the whole placement does.",
            max_length=8,
            extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = ()
    placement_affinity: Annotated[
        tuple[PlacementAffinityTerm, ...], Meta(description="Placements to be near.", max_length=16)
    ] = ()
    placement_anti_affinity: Annotated[
        tuple[PlacementAffinityTerm, ...], Meta(description="Placements to stay away from.", max_length=16)
    ] = ()
