"""PlacementQuota: the most that placements may together take of all targets."""

from typing import Annotated

import msgspec
from msgspec import Meta

from shared.api.meta import ApiObject, ApiStruct, Conditions, Limit, Quantity, Validation

MOST_BOUNDED = 16
"""Resources that a quota names at most: all quotas in force lie in one bucket, and nobody is to fill it."""
LONGEST = 128
"""Characters of such a name at most."""


class PlacementQuotaSpec(ApiStruct, frozen=True, kw_only=True):
    """Whom it bounds, and by how much, after core/v1 ResourceQuota.

    To lower it moves nothing that runs: it only keeps placements from growing, and new ones out.
    """

    validations = (
        Validation("has(self.hard) && size(self.hard) > 0", "hard must name something that is bounded"),
        Validation(
            "!has(self.hard) || self.hard.all(name, name in ["
            "'cpu', 'memory', 'ephemeral-storage', 'pods', 'placements'] "
            "|| name.startsWith('hugepages-') || name.matches('^[a-z0-9][-.a-z0-9]*/[A-Za-z0-9][-._A-Za-z0-9]*$'))",
            "hard names placements, pods (each replica is one), cpu, memory, ephemeral-storage, hugepages-<size>, or an"
            " extended resource such as nvidia.com/gpu",
        ),
        Validation(
            f"!has(self.hard) || self.hard.all(name, size(name) <= {LONGEST})",
            f"a name in hard has {LONGEST} characters at most",
        ),
        Validation(
            "(has(self.workspace) ? self.workspace : '') == (has(oldSelf.workspace) ? oldSelf.workspace : '') "
            "&& (has(self.__namespace__) ? self.__namespace__ : '') == "
            "(has(oldSelf.__namespace__) ? oldSelf.__namespace__ : '')",
            "whom a quota bounds is for good: make another one",
        ),
    )

    workspace: Annotated[
        str,
        Meta(
            description="The workspace that is bounded together with all below it, as its path from this one on, such "
            "as team-a or team-a:shop. Where there are workspaces it has to be given, since nobody bounds themselves; "
            "on a Kubernetes hub it has to be left out.",
            pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(:[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$",
            max_length=256,
        ),
    ] = ""
    namespace: Annotated[
        str,
        Meta(
            description="Placements in this namespace alone, of each of these workspaces; empty means in any.",
            pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$",
            max_length=63,
        ),
    ] = ""
    hard: Annotated[
        dict[str, Limit],
        Meta(
            description="The most in all targets together: per resource, as containers request it; of pods, of which "
            "each replica is one; and of placements. What is not named has no bound.",
            max_length=MOST_BOUNDED,
        ),
    ] = msgspec.field(default_factory=dict)


class PlacementQuotaStatus(ApiStruct, frozen=True, kw_only=True):
    """How much of it is used, as of a second ago."""

    observed_generation: Annotated[int, Meta(description="Generation of the spec that was observed.", ge=0)] = 0
    hard: Annotated[dict[str, Quantity], Meta(description="The most that holds now.", max_length=MOST_BOUNDED)] = (
        msgspec.field(default_factory=dict)
    )
    used: Annotated[
        dict[str, Quantity],
        Meta(
            description="What placements hold of it: from the decision on until targets have given it back.",
            max_length=MOST_BOUNDED,
        ),
    ] = msgspec.field(default_factory=dict)
    conditions: Annotated[Conditions, Meta(description="InForce: whether it holds, and why it does not.")] = ()


class PlacementQuota(ApiObject, frozen=True, kw_only=True, tag="PlacementQuota"):
    """A bound on what placements of a workspace, or of a namespace, take of all targets together."""

    spec: Annotated[PlacementQuotaSpec, Meta(description="The bound.")]
    status: Annotated[PlacementQuotaStatus, Meta(description="How much of it is used.")] = PlacementQuotaStatus()
