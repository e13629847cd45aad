"""Operators' overrides on paper: which there are among manifests, and which hold for a placement."""

from collections.abc import Iterable, Mapping

from services.cli.offline.objects import Manifest, decoded, unique, workspace_of
from services.cli.support.manifests import of_kind
from shared.api import PlacementOverride, decode_override, get_condition
from shared.hub.overriding import ACCEPTED, Authority, concerns, ended, in_order
from shared.model.refs import PlacementRef, above
from shared.model.request import OperatorOverride

FoundOverride = tuple[str, PlacementOverride]
"""An override with the path of its workspace."""

_ALL = Authority(placements="Allowed")


def overrides_in(manifests: Iterable[Manifest]) -> tuple[FoundOverride, ...]:
    """The PlacementOverrides among manifests. Raises `InvalidManifest`."""
    return tuple(
        (workspace_of(each), decoded(decode_override, each)) for each in unique(of_kind(manifests, "PlacementOverride"))
    )


def with_overrides(known: Iterable[FoundOverride], new: Iterable[FoundOverride]) -> tuple[FoundOverride, ...]:
    """The known ones, and the new ones, each in place of the one of its workspace and name."""
    return tuple({(path, each.metadata.name): (path, each) for path, each in (*known, *new)}.values())


def holding(
    found: Iterable[FoundOverride], ref: PlacementRef, uid: str, labels: Mapping[str, str], now: float
) -> tuple[OperatorOverride, ...]:
    """The overrides that hold for a placement, the strongest first.

    Of who wrote them it is not asked what they may do: what says that it is not in force (Accepted=False) does not
    hold, and all else does, for all its targets.
    """
    return in_order(
        (path, each, _ALL)
        for path, each in found
        if path in above(ref.workspace)
        and concerns(each.spec, ref, uid, labels)
        and not ended(each.spec, now)
        and not _turned_down(each)
    )


def _turned_down(override: PlacementOverride) -> bool:
    said = get_condition(override.status.conditions, ACCEPTED)
    return said is not None and said.status == "False" and said.observed_generation == override.metadata.generation
