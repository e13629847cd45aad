"""What would help, for each reason why a target fell out and why nothing could be decided. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from shared.api import GROUP, RejectionMessage
from shared.model.reasons import RefusalCode, RejectionCode

_TAINT: Final = "untolerated taint "

OF_REJECTIONS: Final[Mapping[str, str]] = {
    RejectionCode.NOT_SELECTED_WORKSPACE: "name their workspace in spec.targets.workspaces, or take that field away",
    RejectionCode.PROVIDER_NOT_TRUSTED: "name their workspace in spec.targets.workspaces, in a PlacementPolicy's "
    "spec.providers, or (the operator) in MOORAGE_TRUSTED_PROVIDERS",
    RejectionCode.WORKSPACE_NOT_ALLOWED: "their owner can add this workspace to spec.allowedWorkspaces",
    RejectionCode.NOT_AUTHORIZED: "their owner can give the requester (who changed the Placement last) the verb `use` "
    "(on kcp also `access` on `/` of their workspace, without which no right counts there); where none is recorded, "
    "apply the Placement once more",
    RejectionCode.AUTHORIZATION_UNKNOWN: "it is asked again by itself; if it stays, the log of discovery says why "
    "there was no answer; where a requester may use thousands by their names, a right without names takes one review",
    RejectionCode.NOT_READY: "see the conditions of the SyncTarget (kubectl describe synctarget); when it is ready, "
    "this is tried again",
    RejectionCode.MISSING_API: "install the kind there (its CustomResourceDefinition), or name a version served there",
    RejectionCode.TARGET_GONE: "nothing: the SyncTarget was removed while it was decided",
    RejectionCode.POLICY_ERROR: "mend the rule (moorage policy check, moorage policy test), or set its failurePolicy",
    RejectionCode.POLICY_FORBIDS: "change what the rule reads, or the rule (moorage policy test)",
    RejectionCode.POLICY_REQUIRES: "change what the rule reads, or the rule (moorage policy test)",
    RejectionCode.PREEMPTED: "more room there, or elsewhere; or a higher spec.priority, where the owner of the target "
    "gives the verb `preempt`",
    RejectionCode.EXCLUDED: "whoever may override takes the override back (moorage unforce NAME), or it ends by itself",
    RejectionCode.NOT_SELECTED: "widen spec.targets.selector or spec.targets.names, or label the SyncTarget so that it "
    "matches",
    RejectionCode.NAMESPACE_PROTECTED: "use another namespace, or the owner takes it out of spec.protectedNamespaces",
    RejectionCode.NAMESPACE_CLAIMED: "use another namespace, or the owner sets spec.namespaces to PerWorkspace",
    RejectionCode.KIND_NOT_ALLOWED: "the owner can list the kind in spec.allowedKinds of the SyncTarget",
    RejectionCode.UNSCHEDULABLE: "take spec.unschedulable off the SyncTarget, if it is to take something new again",
    RejectionCode.LOST: "bring the cluster back, or wait for it longer (spec.stability.evictionTolerationSeconds)",
    RejectionCode.UNTOLERATED_TAINT: "tolerate the taint in spec.targets.tolerations, if it is meant for this "
    "Placement, or take it off the SyncTarget",
    RejectionCode.AFFINITY_UNSATISFIED: "loosen spec.affinity.required, or label the SyncTarget so that it matches",
    RejectionCode.NO_NEIGHBOUR: "place first what this is to be near, or loosen spec.affinity.placementAffinity",
    RejectionCode.UNWANTED_NEIGHBOUR: "loosen spec.affinity.placementAntiAffinity, or move the neighbour",
    RejectionCode.NO_TOPOLOGY: "give the SyncTarget the label, or let the spread be a wish (whenUnsatisfiable: "
    "ScheduleAnyway)",
    RejectionCode.NO_REPLICA_WEIGHT: "give it a weight above 0 in spec.replicas.weights",
    RejectionCode.OVERRIDES_UNFIT: "mend the override in spec.overrides that the message names",
    RejectionCode.INSUFFICIENT_RESOURCES: "ask for less, free room there, or offer another target; when room is "
    "freed, this is tried again",
    RejectionCode.QUOTA_EXCEEDED: "ask for less, remove other placements of the workspace there, or the owner raises "
    "spec.quotas",
    RejectionCode.OTHER_TIER: "nothing: a tier that comes earlier could take all of it",
    RejectionCode.LOW_SCORE: "lower spec.strategy.minimumScore, or change the weights of its scorers",
}
"""In words that continue "it would help to ..."; one for each reason."""

OF_REFUSALS: Final[Mapping[str, str]] = {
    RefusalCode.NO_FEASIBLE_TARGET: "what helps against any one of the reasons below makes a target of it",
    RefusalCode.TOO_FEW_TARGETS: "lower spec.targets.count, loosen spec.spread, or make more targets fit",
    RefusalCode.INSUFFICIENT_CAPACITY: "ask for fewer replicas or less for each, allow more targets "
    "(spec.targets.count.max), or free room",
    RefusalCode.CONTRADICTION: "change spec.targets.count, spec.spread or spec.replicas, which cannot hold at once",
    RefusalCode.FORCED_UNFIT: "have the target take it, or take the override back (moorage unforce NAME)",
    RefusalCode.QUOTA_EXCEEDED: "ask for less, remove other placements that it bounds, or whoever owns the "
    "PlacementQuota raises spec.hard; when something is given back, this is tried again",
    RefusalCode.UNKNOWN_SCORER: "write a scorer's name as the message lists them in spec.strategy.scorers",
    RefusalCode.INVALID_SCORER: "mend the arguments of the scorer in spec.strategy.scorers",
    RefusalCode.INVALID_PLACEMENT: "mend the Placement as the message says",
    RefusalCode.INVALID_POLICY: "mend the rule in spec.policies: moorage policy check says where",
    RefusalCode.NOT_AUTHORIZED: "the owner of the targets can give the requester the verb `use` again (on kcp also "
    "`access` on `/` of their workspace)",
    RefusalCode.BELOW_MINIMUM_SCORE: "lower spec.strategy.minimumScore, or change the weights of its scorers",
    RefusalCode.PREEMPTING: "nothing: it is placed once the others have left, and tried anew where they do not",
    RefusalCode.CONTENDED: "nothing: it is tried again at once; where it stays, targets are almost full",
}
"""One for each refusal."""


def against(reason: str) -> str:
    """What would help against a reason why targets fell out; empty for one that this version does not know."""
    if reason.startswith("Plugin:"):
        return f"ask whoever keeps the plugin {reason.partition(':')[2]}"
    return OF_REJECTIONS.get(reason, "")


def against_refusal(code: str) -> str:
    """What would help against a refusal; empty for one that this version does not know."""
    return OF_REFUSALS.get(code, "")


def manifest(
    reason: str, messages: Sequence[RejectionMessage], requester: str, *, in_tree: bool = False
) -> tuple[dict[str, Any], ...]:
    """What would help as objects, or the part of the Placement, where it is a right or a toleration; else nothing.

    `requester` is the user that the targets' owner would let use them, `in_tree` whether the hub has workspaces (kcp),
    which have to be entered first.
    """
    if reason == RejectionCode.UNTOLERATED_TAINT:
        taints = [each.message.removeprefix(_TAINT) for each in messages if each.message.startswith(_TAINT)]
        tolerations = [_toleration(*each.partition("=")) for each in taints]
        return ({"spec": {"targets": {"tolerations": tolerations}}},) if tolerations else ()
    if reason == RejectionCode.NOT_AUTHORIZED and requester:
        return _use(requester, in_tree)
    return ()


def _toleration(key: str, equals: str, value: str) -> dict[str, str]:
    return {"key": key, "operator": "Equal", "value": value} if equals else {"key": key, "operator": "Exists"}


def _use(requester: str, in_tree: bool) -> tuple[dict[str, Any], ...]:
    name, group = "moorage-use", "rbac.authorization.k8s.io"
    rule = {"apiGroups": [GROUP], "resources": ["synctargets"], "verbs": ["use"], "resourceNames": ["NAME"]}
    enter = {"nonResourceURLs": ["/"], "verbs": ["access"]}
    return (
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": name},
            "rules": [rule, enter] if in_tree else [rule],
        },
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": group, "kind": "User", "name": requester}],
        },
    )
