"""Where workloads could run: targets, as the inventory knows them, and the workspaces that offer them."""

from typing import Annotated, get_args

from msgspec import Meta
from msgspec.structs import force_setattr

from shared.aio.equals import first_equal
from shared.api import Adoption, Taint, WorkspaceSelector
from shared.broker.tunnel.subjects import tunnel_id
from shared.model.refs import PlacementRef, id_of
from shared.model.resources import Resources
from shared.model.value import Value


class ApiKind(Value, frozen=True, kw_only=True):
    """A kind that a target serves: `apps`, `deployments`, `Deployment`, with its versions by priority."""

    group: str
    resource: str
    kind: str
    versions: tuple[str, ...]
    namespaced: bool = True


class KubeconfigRef(Value, frozen=True, kw_only=True):
    """Where, in the workspace that offers the target, its kubeconfig lies: in a Secret.

    `profile`: there is none, and the ClusterProfile of this name says how it is reached, by an access provider; then
    `key` is empty, so that a release that knows of no profiles finds nothing in a Secret of the same name.

    `version` tells in which content of the Secret discovery last found the cluster that the entry is about; empty where
    an earlier release wrote it.
    """

    namespace: str
    name: str
    key: str = "kubeconfig"
    version: str = ""
    profile: bool = False


class Stray(Value, frozen=True, kw_only=True):
    """What runs in a target although nothing is reserved for it there: the record of its owner, in the target.

    It is what somebody wrote there: a reason to look, and no proof.
    """

    placement: PlacementRef
    uid: str = ""  # of the Placement


class Terms(Value, frozen=True, kw_only=True):
    """What the owner of a target decides about what is placed there; `shared.hub.terms` says what it means.

    On the wire `adoption` is open: a word of another version allows no more than Never.
    """

    per_workspace: bool = False  # whether each workspace has namespaces of its own there
    protected_namespaces: tuple[str, ...] = ()  # names, or beginnings of names before a *
    namespace_labels: tuple[str, ...] = ()  # keys, or beginnings of keys before a *, that a new namespace gets
    allowed_kinds: tuple[str, ...] = ()  # <kind>.<group>, or <kind> alone of the core group
    adoption: Annotated[str, Meta(examples=[*get_args(Adoption)])] = "Never"


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
    scores: dict[str, "CustomScore"] = {}
    allowed_workspaces: WorkspaceSelector | None = None  # None: everybody whom RBAC lets
    quotas: dict[str, Resources] = {}  # by workspace path, see shared/model/quota.py: the most that it may reserve here
    cost_per_cpu_hour: float | None = None
    cost_per_gib_hour: float | None = None
    kubeconfig: KubeconfigRef | None = None
    agent: bool = False  # whether an agent beside it carries its connections; else workers connect to it
    created: float = 0.0  # seconds since the epoch when the SyncTarget was made
    cluster: str = ""  # which cluster it is: the uid of its namespace kube-system; empty while that is not known
    duplicate: bool = False  # whether another SyncTarget holds the same cluster
    strays: tuple[Stray, ...] = ()  # seen twice in a row; some of them, where there are many
    terms: Terms = Terms()
    # Namespaces that are there, by name, and whose each is; None: nobody's, so that nothing may be placed into it.
    # Left out are those that anybody may claim, and some where there are very many: binding asks the cluster itself.
    claims: dict[str, str | None] = {}
    unused: tuple[str, ...] = ()  # namespaces that we made, and nothing is placed in; some, where there are many

    def __post_init__(self) -> None:
        force_setattr(self, "apis", first_equal(self.apis))  # most of what it is made of, and most clusters are alike

    @property
    def id(self) -> str:
        """`<workspace>/<name>`, unique over all workspaces; see `TargetRef`."""
        return id_of(self.workspace, self.name)

    @property
    def tunnel(self) -> str:
        """The tunnel that its agent serves; empty where it has none."""
        return tunnel_id(self.workspace, self.name, self.uid) if self.agent else ""


class CustomScore(Value, frozen=True, kw_only=True):
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
