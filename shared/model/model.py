"""The value objects inside messages and state: frozen, comparable, free of I/O.

Resource amounts are floats in base units (cores, bytes, pieces), whatever notation they arrived in.
A target is named by its id, `<workspace>/<name>`, for example `root:platform/eu-west-1`.
"""

from typing import Literal

import msgspec

from shared.api import PlacementPolicySpec, PlacementSpec, Taint, WorkspaceSelector

Resources = dict[str, float]


class Value(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of all value objects: immutable, compared by content, camelCase on the wire."""


# --- who and what is asked for -------------------------------------------------------------------------------------


class PlacementRef(Value, frozen=True, kw_only=True, order=True):
    """Which Placement: its workspace path (empty on a hub without workspaces), namespace and name."""

    workspace: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.workspace}/{self.namespace}/{self.name}"


class Head(Value, frozen=True, kw_only=True):
    """How new a fact about a placement is.

    `attempt` grows by one with every new round for the same placement name, also when the object is deleted and made
    anew, so that it alone orders two heads. `uid` and `generation` say which object was read.
    """

    uid: str
    generation: int
    attempt: int

    def older_than(self, other: "Head") -> bool:
        """Whether `other` supersedes this head."""
        return self.attempt < other.attempt


class Requester(Value, frozen=True, kw_only=True):
    """On whose behalf targets are authorized: the user that created the Placement, as the API server saw them."""

    username: str
    groups: tuple[str, ...] = ()


CauseCode = Literal[
    "Created", "SpecChanged", "WorkloadChanged", "PolicyChanged", "OverrideChanged",
    "TargetLost", "TargetChanged", "Rebalance", "Waiting", "Contended", "Resync",
]  # fmt: skip


class Cause(Value, frozen=True, kw_only=True):
    """Why a round is made for a placement now."""

    code: CauseCode
    detail: str = ""


class WorkloadObject(Value, frozen=True, kw_only=True):
    """One object to place, and what one replica of it asks for (`replicas` is None for kinds without replicas)."""

    api_version: str
    kind: str
    namespace: str
    name: str
    replicas: int | None = None
    requests: Resources = {}
    labels: dict[str, str] = {}
    hash: str = ""

    @property
    def ref(self) -> str:
        """`apps/v1 Deployment shop/cart`, as people write it."""
        return f"{self.api_version} {self.kind} {self.namespace}/{self.name}"


class PreviousChoice(Value, frozen=True, kw_only=True):
    """A target that the placement is on already."""

    target: str
    replicas: int | None = None


class Request(Value, frozen=True, kw_only=True):
    """One round of placing one Placement: all that the stages need to know of it, read once by the controller."""

    placement: PlacementRef
    head: Head
    cause: Cause
    spec: PlacementSpec
    labels: dict[str, str] = {}
    requester: Requester | None = None
    workload: tuple[WorkloadObject, ...] = ()
    previous: tuple[PreviousChoice, ...] = ()
    leaving: tuple[str, ...] = ()  # targets of `previous` that it has to leave; on the others it may stay
    moved_at: float = 0.0  # seconds since the epoch when it last left a target for another; 0 when it never did
    policy_revision: int = 0  # of the policies bucket: what the policy worker must have seen before it judges
    requested_at: float = 0.0  # seconds since the epoch, from the controller's clock
    error: str = ""  # why the placement as written cannot be placed at all; empty when it can


# --- where it could run --------------------------------------------------------------------------------------------


class ApiKind(Value, frozen=True, kw_only=True):
    """A kind that a target serves: `apps`, `deployments`, `Deployment`, with its versions by priority."""

    group: str
    resource: str
    kind: str
    versions: tuple[str, ...]
    namespaced: bool = True


class KubeconfigRef(Value, frozen=True, kw_only=True):
    """Where, in the workspace that offers the target, its kubeconfig lies."""

    namespace: str
    name: str
    key: str = "kubeconfig"


class Target(Value, frozen=True, kw_only=True):
    """One SyncTarget as the inventory knows it."""

    workspace: str
    name: str
    uid: str = ""
    labels: dict[str, str] = {}
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False
    ready: bool = False
    reason: str = ""  # why it is not ready, in a few words
    lost_since: float = 0.0  # seconds since the epoch since when it has been unreachable; 0 when it is not
    # Copies of discovery agree on whether a target is lost by these two times (seconds since the epoch, or 0). A copy
    # that cannot reach the target writes `doubted_at`; a copy that does reach it then clears the doubt and writes
    # `answered_at`. Answers without a preceding doubt are not written.
    doubted_at: float = 0.0
    answered_at: float = 0.0
    evict_after: float | None = None  # seconds; None: the placement's own tolerance decides
    capacity: Resources = {}
    allocatable: Resources = {}
    allocated: Resources = {}  # requests of what Moorage did not place
    counted: bool = False  # whether `allocated` was summed from its pods; else it is as reported on the SyncTarget
    usage: Resources = {}  # observed use, where metrics are served
    apis: tuple[ApiKind, ...] = ()
    kubernetes_version: str = ""
    nodes: int = 0
    latency: dict[str, float] = {}  # milliseconds from an origin
    scores: dict[str, "OutsideScore"] = {}
    allowed_workspaces: WorkspaceSelector | None = None  # None: everybody whom RBAC lets
    quotas: dict[str, Resources] = {}  # by workspace path, see shared/model/quota.py: the most that it may reserve here
    cost_per_cpu_hour: float | None = None
    cost_per_gib_hour: float | None = None
    kubeconfig: KubeconfigRef | None = None

    @property
    def id(self) -> str:
        """`<workspace>/<name>`, unique over all workspaces."""
        return f"{self.workspace}/{self.name}"


class OutsideScore(Value, frozen=True, kw_only=True):
    """A score that somebody else keeps on the SyncTarget, 0..100; it abstains after `valid_until` (epoch seconds)."""

    value: float
    valid_until: float | None = None


class Workspace(Value, frozen=True, kw_only=True):
    """One workspace of the tree: its path, its labels.

    `root` marks where the walk begins; such an entry is written only after the first walk below it was complete.
    `rbac` stands for the state of the workspace's ClusterRoles and ClusterRoleBindings, where it offers targets: a
    digest of their versions; empty where these are not known.
    """

    path: str
    labels: dict[str, str] = {}
    root: bool = False
    rbac: str = ""


class PolicyEntry(Value, frozen=True, kw_only=True):
    """A PlacementPolicy in force: it holds in `workspace` and in every workspace below."""

    workspace: str
    name: str
    uid: str = ""
    generation: int = 0
    spec: PlacementPolicySpec


def split_target(target: str) -> tuple[str, str]:
    """Workspace and name of a target id."""
    workspace, _, name = target.rpartition("/")
    return workspace, name


# --- why not, and how much -----------------------------------------------------------------------------------------


class Rejection(Value, frozen=True, kw_only=True):
    """Targets that were rejected for one reason: a code for programs, a few words for people, the targets' ids."""

    reason: str
    message: str
    targets: tuple[str, ...]


class RuleResult(Value, frozen=True, kw_only=True):
    """One policy rule over the targets of the message that carries it.

    `outcomes` holds one character per target, in their order: `t` true, `f` false, `e` error, `-` where the policy's
    targetSelector leaves the target out. `evaluated`, `matched` (true) and `errors` count over all targets that were
    judged, those that the rules excluded among them.
    """

    policy: str
    rule: str
    effect: Literal["Require", "Forbid", "Prefer", "Avoid"]
    weight: float = 0.0
    outcomes: str = ""
    enforced: bool = True
    evaluated: int = 0
    matched: int = 0
    errors: int = 0
    message: str = ""


class Score(Value, frozen=True, kw_only=True):
    """One scorer's share of a total: raw 0..100, and raw × weight / sum of weights."""

    raw: float
    weight: float
    weighted: float


class Choice(Value, frozen=True, kw_only=True):
    """One target, as the scheduler proposes or ranks it.

    `replicas` is None for workloads without replicas; `reserve` is what the placement needs there.
    """

    target: str
    score: float
    breakdown: dict[str, Score] = {}
    replicas: int | None = None
    reserve: Resources = {}
    reason: str = ""


class Refusal(Value, frozen=True, kw_only=True):
    """Why nothing could be decided: a code for programs and one sentence for people."""

    code: str
    message: str


class Proposal(Value, frozen=True, kw_only=True):
    """What the scheduler would do: the selected targets, ranked alternates, or a refusal."""

    strategy: str
    selected: tuple[Choice, ...] = ()
    alternates: tuple[Choice, ...] = ()
    feasible: int = 0
    refusal: Refusal | None = None


class ObjectHealth(Value, frozen=True, kw_only=True):
    """Health of one applied object in one target.

    `owned_fields` is the digest of the fields that Moorage owns of it there, empty where that is not known.
    """

    ref: str
    health: Literal["Healthy", "Progressing", "Degraded", "Unhealthy", "Unknown"]
    message: str = ""
    replicas: int | None = None
    ready: int | None = None
    owned_fields: str = ""


# --- what the workers keep in shared state --------------------------------------------------------------------------


class HeadEntry(Value, frozen=True, kw_only=True):
    """The newest head of a placement, a digest of the input that it stands for, and which targets it has to leave.

    `in_vain` counts the rounds in a row that were asked for since what was decided was not in place.
    """

    head: Head
    digest: str
    leaving: tuple[str, ...] = ()
    requested_at: float = 0.0
    deleted: bool = False
    in_vain: int = 0


class Waiting(Value, frozen=True, kw_only=True):
    """A placement that could not be decided: waiting since when, tried how often and when last, to be tried again when.

    Times are seconds since the epoch; that of a try is when it was asked for. It is tried before `next_try` when
    something has changed since then that could help.
    """

    placement: PlacementRef
    head: Head
    since: float
    tries: int
    tried_at: float
    next_try: float


class Reservation(Value, frozen=True, kw_only=True):
    """What one placement, with these labels, reserves in one target; that may be nothing, as for a ConfigMap.

    One that was released stays for a while, since its head keeps older ones from taking anything.
    """

    placement: PlacementRef
    head: Head
    resources: Resources
    labels: dict[str, str] = {}  # of the Placement, so that others can ask to be near it or far from it
    orphan: bool = False  # what it placed is to be left there when it goes away
    released_at: float = 0.0  # seconds since the epoch; 0 while it holds its place


class PolicyFinding(Value, frozen=True, kw_only=True):
    """What is wrong with one expression of a policy.

    `rule` names the expression as `rules[eu].expression` or `variables[region].expression`; it is empty where the
    policy as a whole is meant. Line and column count from 1, 0 where there is no place to point at.
    """

    rule: str
    message: str
    line: int = 0
    column: int = 0
    suggestion: str = ""


class RuleTally(Value, frozen=True, kw_only=True):
    """On how many targets a rule was evaluated, was true, failed."""

    rule: str
    evaluated: int = 0
    matched: int = 0
    errors: int = 0


class PolicyCheck(Value, frozen=True, kw_only=True):
    """What became of one generation of a PlacementPolicy: the first findings of its check, how many more there are, and
    what its rules did since, in their order."""

    workspace: str
    name: str
    uid: str = ""
    generation: int = 0
    findings: tuple[PolicyFinding, ...] = ()
    more: int = 0
    counts: tuple[RuleTally, ...] = ()


class TargetReport(Value, frozen=True, kw_only=True):
    """What status knows of one placement in one target."""

    placement: PlacementRef
    head: Head
    target: str
    phase: str
    message: str = ""
    objects: tuple[ObjectHealth, ...] = ()
    observed_at: float = 0.0


TOLERANCE = 1e-9


def fits(needed: Resources, free: Resources) -> bool:
    """Whether `free` covers `needed`; a resource that `free` does not name is not there.

    The relative tolerance covers rounding in sums of decimal fractions (0.1 + 0.2), a billionth of a core.
    """
    return all(
        amount <= free.get(name, 0.0) * (1 + TOLERANCE) + TOLERANCE for name, amount in needed.items() if amount > 0
    )


def add(*parts: Resources) -> Resources:
    """The sum, resource by resource."""
    total: Resources = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, 0.0) + amount
    return total


def subtract(whole: Resources, part: Resources) -> Resources:
    """What is left of `whole`; may be negative where more is taken than there is."""
    return {name: whole.get(name, 0.0) - part.get(name, 0.0) for name in {**whole, **part}}
