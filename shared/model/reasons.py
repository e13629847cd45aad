"""Why targets fell out and why nothing could be decided: the codes, the stages that give them, and one sentence.

On the wire codes and stages are strings, as another release may know more of them. We write them from here.
"""

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from typing import Self

from shared.model.decision import Rejection

MOST_REASONS = 6


class Stage(StrEnum):
    """The stages that reject targets or refuse a round, in pipeline order."""

    DISCOVERY = "discovery"
    POLICY = "policy"
    SCHEDULER = "scheduler"
    DECISION = "decision"


class _Code(StrEnum):
    """A code with its description, one sentence for people, and the stages that give it."""

    description: str
    stages: tuple[Stage, ...]

    def __new__(cls, code: str, description: str, *stages: Stage) -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.description = description
        member.stages = stages
        return member


class RejectionCode(_Code):
    """Why a target fell out of a round. A plugin has a code of its own, `Plugin:<name>`."""

    NOT_SELECTED_WORKSPACE = (
        "NotSelectedWorkspace", "It is in a workspace that the Placement does not select.", Stage.DISCOVERY
    )  # fmt: skip
    PROVIDER_NOT_TRUSTED = (
        "ProviderNotTrusted",
        "Its workspace is neither the Placement's nor an ancestor, and nobody names it as a provider.",
        Stage.DISCOVERY,
    )
    WORKSPACE_NOT_ALLOWED = (
        "WorkspaceNotAllowed", "It is not offered to the Placement's workspace.", Stage.DISCOVERY
    )  # fmt: skip
    NOT_AUTHORIZED = "NotAuthorized", "The requester may not use it, or is not known.", Stage.DISCOVERY
    AUTHORIZATION_UNKNOWN = (
        "AuthorizationUnknown", "Nobody could say whether the requester may use it.", Stage.DISCOVERY
    )  # fmt: skip
    NOT_READY = "NotReady", "It is not ready.", Stage.DISCOVERY, Stage.SCHEDULER
    MISSING_API = "MissingAPI", "It does not serve a kind of the workload.", Stage.DISCOVERY, Stage.SCHEDULER
    TARGET_GONE = "TargetGone", "It has left the inventory since an earlier stage.", Stage.POLICY, Stage.SCHEDULER
    POLICY_ERROR = "PolicyError", "A rule that must hold could not be evaluated for it.", Stage.POLICY
    POLICY_FORBIDS = "PolicyForbids", "A rule forbids it.", Stage.POLICY
    POLICY_REQUIRES = "PolicyRequires", "It does not meet a rule.", Stage.POLICY
    EXCLUDED = "Excluded", "An operator's override (PlacementOverride) excludes it.", Stage.SCHEDULER
    PREEMPTED = "Preempted", "It has to leave it for a placement of higher priority.", Stage.SCHEDULER
    NOT_SELECTED = "NotSelected", "The Placement does not select it, by labels or by name.", Stage.SCHEDULER
    NAMESPACE_PROTECTED = (
        "NamespaceProtected", "Nothing may be placed into the namespace there.", Stage.SCHEDULER
    )  # fmt: skip
    NAMESPACE_CLAIMED = (
        "NamespaceClaimed", "The namespace there is another workspace's, or nobody's.", Stage.SCHEDULER
    )  # fmt: skip
    KIND_NOT_ALLOWED = "KindNotAllowed", "Its owner does not take a kind of the workload.", Stage.SCHEDULER
    UNSCHEDULABLE = "Unschedulable", "Its SyncTarget is marked unschedulable.", Stage.SCHEDULER
    LOST = "Lost", "It has been out of reach for longer than the Placement tolerates.", Stage.SCHEDULER
    UNTOLERATED_TAINT = "UntoleratedTaint", "It has a taint that the Placement does not tolerate.", Stage.SCHEDULER
    AFFINITY_UNSATISFIED = "AffinityUnsatisfied", "It does not match the required affinity.", Stage.SCHEDULER
    NO_NEIGHBOUR = "NoNeighbour", "It is not near the placements that are wanted nearby.", Stage.SCHEDULER
    UNWANTED_NEIGHBOUR = "UnwantedNeighbour", "It is near a placement that is to be far.", Stage.SCHEDULER
    NO_TOPOLOGY = "NoTopology", "It lacks the label of a spread that is a must.", Stage.SCHEDULER
    NO_REPLICA_WEIGHT = "NoReplicaWeight", "Its replica weight is 0.", Stage.SCHEDULER
    OVERRIDES_UNFIT = "OverridesUnfit", "Its overrides cannot be applied, or were not counted.", Stage.SCHEDULER
    INSUFFICIENT_RESOURCES = "InsufficientResources", "It has too little room.", Stage.SCHEDULER
    QUOTA_EXCEEDED = "QuotaExceeded", "A quota leaves too little room there.", Stage.SCHEDULER
    OTHER_TIER = "OtherTier", "It is not in the tier that is chosen.", Stage.SCHEDULER
    LOW_SCORE = "LowScore", "It scores below the minimum.", Stage.SCHEDULER


class RefusalCode(_Code):
    """Why nothing could be decided."""

    NO_FEASIBLE_TARGET = (
        "NoFeasibleTarget", "Every target fell out.", Stage.DISCOVERY, Stage.POLICY, Stage.SCHEDULER
    )  # fmt: skip
    TOO_FEW_TARGETS = "TooFewTargets", "Fewer targets fit than are wanted at least.", Stage.SCHEDULER
    INSUFFICIENT_CAPACITY = "InsufficientCapacity", "Divided replicas find too little room.", Stage.SCHEDULER
    CONTRADICTION = "Contradiction", "What the Placement asks for cannot hold at once.", Stage.SCHEDULER
    FORCED_UNFIT = (
        "ForcedUnfit", "A target that an operator's override forces it to cannot take it.", Stage.SCHEDULER
    )  # fmt: skip
    QUOTA_EXCEEDED = (
        "QuotaExceeded", "A quota over all clusters leaves too little.", Stage.SCHEDULER, Stage.DECISION
    )  # fmt: skip
    UNKNOWN_SCORER = "UnknownScorer", "There is no scorer of that name.", Stage.SCHEDULER
    INVALID_SCORER = "InvalidScorer", "The arguments of a scorer cannot be used.", Stage.SCHEDULER
    INVALID_PLACEMENT = "InvalidPlacement", "The Placement as written cannot be placed at all.", Stage.SCHEDULER
    INVALID_POLICY = "InvalidPolicy", "A rule of the Placement itself is invalid.", Stage.POLICY
    NOT_AUTHORIZED = "NotAuthorized", "The requester may not use what was proposed any more.", Stage.DECISION
    BELOW_MINIMUM_SCORE = "BelowMinimumScore", "Too few of what was proposed score enough.", Stage.DECISION
    PREEMPTING = "Preempting", "It waits for placements of lower priority to leave for it.", Stage.SCHEDULER
    CONTENDED = "Contended", "Other placements were faster for what was proposed.", Stage.DECISION


NAMED_BY_DISCOVERY = frozenset({RejectionCode.NOT_READY, RejectionCode.MISSING_API})
"""What discovery says of targets that the requester may use. All else it says of others, whose names are not told."""

_BEFORE_AUTHORIZATION = frozenset(
    code for code in RejectionCode if Stage.DISCOVERY in code.stages and code not in NAMED_BY_DISCOVERY
)


def may_name(rejection: Rejection) -> bool:
    """Whether the requester may know which targets these are: those that were rejected after it was authorized."""
    if rejection.stage == Stage.DISCOVERY:
        return rejection.reason in NAMED_BY_DISCOVERY
    return rejection.reason not in _BEFORE_AUTHORIZATION


def last_stage(rejections: Iterable[Rejection]) -> str:
    """The last stage that rejected targets, where `rejections` are in pipeline order; discovery when none did."""
    stage: str = Stage.DISCOVERY
    for rejection in rejections:
        stage = rejection.stage
    return stage


def sentence(total: int, rejections: Iterable[Rejection], fit: int = 0) -> str:
    """`0/120 targets: 80 lack apps/v1 Deployment, 30 not authorized, 10 insufficient cpu`.

    Reasons are counted by their words and listed by count, then by words; after the sixth, the rest is one number.
    `total` is how many targets there were before any stage, and `fit` how many of them are left.
    """
    if total == 0:
        return "no targets to choose from"
    counts: Counter[str] = Counter()
    for rejection in rejections:
        counts[rejection.message] += rejection.count
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = [f"{count} {_plural(message) if count > 1 else message}" for message, count in ranked[:MOST_REASONS]]
    rest = sum(count for _, count in ranked[MOST_REASONS:])
    if rest:
        shown.append(f"{rest} for other reasons")
    return f"{fit}/{total} targets" + (f": {', '.join(shown)}" if shown else "")


def _plural(message: str) -> str:
    """`lacks` is the one verb that rejections are worded with."""
    return f"lack {message.removeprefix('lacks ')}" if message.startswith("lacks ") else message
