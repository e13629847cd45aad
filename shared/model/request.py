"""A round of placing one Placement: what is asked for, for whom, why now, and what the controller remembers of it."""

from typing import Annotated, Literal, Self, get_args

from msgspec import Meta

from shared.api import OverrideType, PlacementSpec, TargetReference
from shared.model.refs import Head, PlacementRef
from shared.model.resources import Resources
from shared.model.value import Value


class Requester(Value, frozen=True, kw_only=True):
    """On whose behalf targets are authorized: the user that last changed what the Placement asks for, as the API
    server saw them.

    `extra` is what else the authenticator knows. In kcp it is what confines an impersonated user, or a ServiceAccount,
    to its own workspace: whoever leaves it out lets them in elsewhere.
    """

    username: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: dict[str, tuple[str, ...]] = {}


Permission = Literal["Allowed", "Denied", "NoAccess", "Unknown", "Unasked", "NoRequester"]
"""The answer to whether a requester may do something; Unknown: nobody could say; Unasked: it was not asked in time."""

CauseCode = Literal[
    "Created", "SpecChanged", "WorkloadChanged", "PolicyChanged", "TargetLost", "TargetChanged", "Rebalance", "Waiting",
    "Resync", "OverrideChanged", "Preempted",
]  # fmt: skip
"""The causes that the controller gives."""


class Cause(Value, frozen=True, kw_only=True):
    """Why a round is made for a placement now. It is for people and traces: no stage acts on it.

    On the wire `code` is open: a controller of another version may give causes that are none of `CauseCode`.
    """

    code: Annotated[str, Meta(examples=[*get_args(CauseCode)])]
    detail: str = ""

    @classmethod
    def of(cls, code: CauseCode, detail: str = "") -> Self:
        """A cause of those that this version gives."""
        return cls(code=code, detail=detail)


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
    guarded: bool = False  # whether a target takes it only where its owner lists the kind
    on_every_node: bool = False
    brings: tuple[str, ...] = ()  # of a CustomResourceDefinition: `<apiVersion> <kind>` of what it has a target serve

    @property
    def ref(self) -> str:
        """`apps/v1 Deployment shop/cart`, as people write it."""
        return f"{self.api_version} {self.kind} {self.namespace}/{self.name}"


class Variant(Value, frozen=True, kw_only=True):
    """The workload as these overrides of the Placement make it, by their places in its spec, or why they cannot."""

    overrides: tuple[int, ...]
    workload: tuple[WorkloadObject, ...] = ()
    error: str = ""


class PreviousChoice(Value, frozen=True, kw_only=True):
    """A target that the placement is on already."""

    target: str
    replicas: int | None = None


class OperatorOverride(Value, frozen=True, kw_only=True):
    """A PlacementOverride that is in force for a placement: its author may override, and it has not ended.

    On the wire `type` is open: one that a stage does not know does nothing there.
    """

    workspace: str
    name: str
    type: Annotated[str, Meta(examples=[*get_args(OverrideType)])]
    targets: tuple[TargetReference, ...]
    reason: str
    expires_at: str = ""
    over_commit: bool = False


class Question(Value, frozen=True, kw_only=True):
    """Marks a request that is to be answered with what would be decided: nothing is written, and nobody counts it.

    Unless `reserve` is more than 0: then what would be decided is held for that many seconds, under this `id`.
    """

    id: str
    reserve: float = 0.0


class Preempting(Value, frozen=True, kw_only=True):
    """The targets in which others of lower rank may have to leave for a placement, and what its priority counts for
    there: its requester may preempt in them, and it wants to."""

    targets: tuple[str, ...]
    rank: int


class ScopeLabels(Value, frozen=True, kw_only=True):
    """Labels by which policies choose placements: of workspaces (by path: the placement's own and those above it), and
    of its namespace. Those are there that a policy goes by and that are known; a policy holds where they are not.
    """

    workspaces: dict[str, dict[str, str]] = {}
    namespace: dict[str, str] | None = None


class Request(Value, frozen=True, kw_only=True):
    """One round of placing one Placement: all that the stages need to know of it, read once by the controller.

    `workload` is what is placed where no override holds. For each set of overrides that holds in some target there is a
    variant; a target in which others hold is none for this round. Without any, as 0.1 sends it, overrides count for
    nothing. `input_digest` stands for all that makes the objects that are applied, see `shared.hub.rendering`; it is
    empty where 0.1 sent or passed on the request. `unreported` is the version (resourceVersion) of a Placement whose
    status nobody has written yet, empty where somebody has. A `question` takes no part in the pipeline.
    """

    placement: PlacementRef
    head: Head
    cause: Cause
    spec: PlacementSpec
    labels: dict[str, str] = {}
    requester: Requester | None = None
    scope_labels: ScopeLabels = ScopeLabels()
    workload: tuple[WorkloadObject, ...] = ()
    variants: tuple[Variant, ...] = ()
    input_digest: str = ""
    previous: tuple[PreviousChoice, ...] = ()
    leaving: tuple[str, ...] = ()  # targets of `previous` that it has to leave; on the others it may stay
    leaving_since: dict[str, int] = {}  # by the target: the attempt since which it has to
    bound: tuple[str, ...] = ()  # the targets that it has a PlacementBinding for, as far as the controller knew
    moved_at: float = 0.0  # seconds since the epoch when it last left a target for another; 0 when it never did
    policy_revision: int = 0  # of the policies bucket: what the policy worker must have seen before it judges
    quota_revision: int = 0  # the same of quotas over all clusters, for decision
    requested_at: float = 0.0  # seconds since the epoch, from the controller's clock
    unreported: str = ""
    question: Question | None = None
    hold: str = ""  # the id of a hold that it takes over, if that is still there
    operator_overrides: tuple[OperatorOverride, ...] = ()  # the strongest first
    unread: str = ""  # which part of the workload cannot be read any more, and why: that counts as it was decided
    preempting: Preempting | None = None  # as discovery asked; None where it has nobody leave
    preempted: dict[str, str] = {}  # targets that it has to leave for others, and for whom, in words for its tenants
    error: str = ""  # why the placement as written cannot be placed at all; empty when it can

    @property
    def needed(self) -> frozenset[tuple[str, str]]:
        """The apiVersion and kind of all that a target must serve: not of what the workload itself has it serve."""
        brought = {name for each in self.workload for name in each.brings}
        kinds = {(each.api_version, each.kind) for each in self.workload}
        return frozenset(each for each in kinds if " ".join(each) not in brought)

    @property
    def held_for(self) -> tuple[PlacementRef, ...]:
        """Under which names room may be held for it that is its own once it is decided."""
        holds = (self.held_as(self.hold),) if self.hold else ()
        return (self.placement.nomination, *holds)

    def held_as(self, id: str) -> PlacementRef:
        """The name under which whoever it is for has capacity held, by the id of the hold."""
        return self.placement.hold(id, self.requester.username if self.requester is not None else "")


class HeadEntry(Value, frozen=True, kw_only=True):
    """The newest head of a placement, a digest of the input that it stands for, and which targets it has to leave.

    `in_vain` counts the rounds in a row that were asked for since what was decided was not in place.
    """

    head: Head
    digest: str
    leaving: tuple[str, ...] = ()
    leaving_since: dict[str, int] = {}  # by the target: the attempt since which it has to
    requested_at: float = 0.0
    deleted: bool = False
    in_vain: int = 0
    kept: tuple[WorkloadObject, ...] = ()  # what counts of a part of the workload that cannot be read any more
    held: str = ""  # why it stays on a target that it would have to leave, for people; empty when it need not
    held_reason: str = ""  # the same in one word; empty as 0.1 writes it, of the brake
    rebalance: str = ""  # the last request to look for better targets that was seen, and the attempt that is to do so
    rebalance_since: int = 0
    evict: str = ""  # the last request to leave a target that was seen to, and the attempt that does so
    evict_since: int = 0


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
