"""What is proposed and decided: choices with their scores, rejections, refusals, reservations."""

from shared.model.refs import Head, PlacementRef
from shared.model.resources import Resources
from shared.model.value import Value


class Rejection(Value, frozen=True, kw_only=True):
    """Targets that one stage rejected for one reason: a code for programs, a few words for people, the targets' ids.

    Of targets that the requester may not see there are no ids, only how many more there are: `unnamed`.
    The codes and stages that we write are in `shared.model.reasons`. An unknown code is shown as it is; an unknown
    stage, or none, as 0.1 wrote it, shows as the scheduler's. `detail` has the numbers of this round, for people.
    """

    reason: str
    message: str
    targets: tuple[str, ...]
    stage: str = ""
    unnamed: int = 0
    detail: str = ""

    @property
    def count(self) -> int:
        """How many targets there are, with and without a name."""
        return len(self.targets) + self.unnamed


class Score(Value, frozen=True, kw_only=False, gc=False):
    """One scorer's share of a total: raw 0..100, and raw × weight / sum of weights."""

    raw: float
    weight: float
    weighted: float


class Choice(Value, frozen=True, kw_only=True):
    """One target, as the scheduler proposes or ranks it.

    `replicas` is None for workloads without replicas; `reserve` is what the placement needs there, with the `overrides`
    that hold there, by their places in its spec. `facts` is a digest of those facts on the target that decided.
    `passed_over` says for which target that scores less it was not taken, and by which rule; empty where there is none.
    `forced`: a PlacementOverride wants it, whatever it scores; with `over_commit` whatever room there is.
    """

    target: str
    score: float
    breakdown: dict[str, Score] = {}
    replicas: int | None = None
    overrides: tuple[int, ...] = ()
    reserve: Resources = {}
    reason: str = ""
    passed_over: str = ""
    facts: str = ""
    forced: bool = False
    over_commit: bool = False


class Refusal(Value, frozen=True, kw_only=True):
    """Why nothing could be decided: a code for programs, one sentence for people, the stage that left nothing.

    Codes and stages are open, as those of a `Rejection` are.
    """

    code: str
    message: str
    stage: str = ""


class Shortfall(Value, frozen=True, kw_only=True):
    """What would do where nothing fits: so many more targets, with these `resources` free in each (base units).

    `replicas` is how many of them each must have room for where they are divided; None where each runs everything.
    """

    targets: int
    replicas: int | None = None
    resources: Resources = {}


class Preemption(Value, frozen=True, kw_only=True):
    """What the scheduler would choose once others have left: the `choices`, and by target who has to, the `victims`."""

    choices: tuple[Choice, ...]
    victims: dict[str, tuple[PlacementRef, ...]]


class Proposal(Value, frozen=True, kw_only=True):
    """What the scheduler would do: the selected targets, ranked alternates, or a refusal; with what is `missing`, where
    the Placement has that requested and more targets would help. Where others may have to leave for it, `preemption`
    stands beside the refusal."""

    strategy: str
    selected: tuple[Choice, ...] = ()
    alternates: tuple[Choice, ...] = ()
    feasible: int = 0
    refusal: Refusal | None = None
    missing: Shortfall | None = None
    preemption: Preemption | None = None


class Reservation(Value, frozen=True, kw_only=True):
    """What one placement, with these labels, reserves in one target, or what all its targets take of one quota.

    That may be nothing, as for a ConfigMap. One that was released stays for a while, since its head keeps older ones
    from taking anything.
    """

    placement: PlacementRef
    head: Head
    resources: Resources
    labels: dict[str, str] = {}  # of the Placement, so that others can ask to be near it or far from it
    orphan: bool = False  # what it placed is to be left there when it goes away
    shrinks_to: Resources | None = None  # what is left of it once binding has applied this head; None: all of it
    epoch: int = 0  # of the bucket: revision of the marker that all was there when it was reserved; 0: it was rebuilt
    reserved_at: float = 0.0  # seconds since the epoch; 0 where that is not known, as of one that was rebuilt
    released_at: float = 0.0  # seconds since the epoch; 0 while it holds its place
    until: float = 0.0  # of a hold, seconds since the epoch when it ends by itself; 0: it is no hold
    over_commit: bool = False  # whether it was forced there, whatever room there was
    priority: int = 0  # of the Placement, which counts within its workspace
    rank: int | None = None  # what its priority counts for against others there; None: not known, it stays
    budget: int | None = None  # the most targets that it leaves at a time; None: any number
    victims: tuple[PlacementRef, ...] = ()  # of a hold: who has to leave for it
    covers: str = ""  # of what is charged to a quota: a digest of what this head wants, by target
    as_of: int = 0  # the same: the revision of the reservations in targets that whoever gave back of it went by
