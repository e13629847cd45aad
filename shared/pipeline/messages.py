"""Every message of the pipeline, in pipeline order, each with its subject.

    controller -> Requested -> discovery -> Discovered -> policy -> Evaluated -> scheduler -> Scheduled -> decision
    decision   -> Decided (one per placement) and Assigned (one per target) -> binding -> Bound -> status
    status     -> Observed (one per target) -> binding, which records health and corrects drift; status, which shows it
    controller -> Withdrawn -> decision, when a Placement goes away; Reported -> status, when it is suspended

On the wire a message is JSON, so that `nats sub 'moorage.pipeline.>'` reads well. Its subject is
`moorage.pipeline.<stage>.<workspace>.<namespace>.<name>[.<target>]`; the stream keeps the last one per subject.
Its id derives from the fact it states, never from a clock or a random number, so that repeating it changes nothing.
"""

import hashlib
from typing import Any, ClassVar

import msgspec

from shared.broker.tokens import join
from shared.model.decision import Choice, Proposal, Refusal, Rejection
from shared.model.policy import RuleResult
from shared.model.refs import Head, PlacementRef
from shared.model.report import ObjectHealth
from shared.model.request import Cause, Question, Request
from shared.model.resources import Resources

PIPELINE = "moorage.pipeline"

QUESTIONS = "moorage.questions"
"""On `moorage.questions.<stage consumed>` a stage is asked about a message, and answers with what it makes of it."""


class Message(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag_field="type", tag=True
):
    """Base of all messages: who it is about, how new it is, and where it travels.

    `stage` is empty for what no stage consumes: it is told in events alone (events.py).
    """

    stage: ClassVar[str]

    @property
    def about(self) -> PlacementRef:
        """The placement that this message is about."""
        raise NotImplementedError

    @property
    def at(self) -> Head:
        """The head that it was made for."""
        raise NotImplementedError

    @property
    def question(self) -> Question | None:
        """The question that it is about, None for what is to be done."""
        return None

    @property
    def continues(self) -> str:
        """The trace that it is part of when it is sent of one's own accord, as a `traceparent`; empty: of none."""
        return ""

    @classmethod
    def asked_on(cls) -> str:
        """The subject on which questions about this kind of message are answered."""
        return f"{QUESTIONS}.{cls.stage}"

    def key(self) -> tuple[str, ...]:
        """What makes two messages of a stage concern the same thing; the newer one replaces the older."""
        return (self.about.workspace, self.about.namespace, self.about.name)

    def subject(self) -> str:
        """Where it is published."""
        return f"{PIPELINE}.{self.stage}.{join(*self.key())}"

    def id(self) -> str:
        """The fact's identity: the same fact published twice has the same id."""
        return f"{self.stage}:{self.at.uid}:{self.at.generation}:{self.at.attempt}"


class _OfRequest(Message, frozen=True, kw_only=True):
    """A message of one round, which carries the request along."""

    request: Request

    @property
    def about(self) -> PlacementRef:
        return self.request.placement

    @property
    def at(self) -> Head:
        return self.request.head

    @property
    def question(self) -> Question | None:
        return self.request.question


class _OfPlacement(Message, frozen=True, kw_only=True):
    """A message about a placement that needs no more of the request than its name and head."""

    placement: PlacementRef
    head: Head

    @property
    def about(self) -> PlacementRef:
        return self.placement

    @property
    def at(self) -> Head:
        return self.head


class Requested(_OfRequest, frozen=True, kw_only=True):
    """controller: what is to be placed, for whom, why now."""

    stage: ClassVar[str] = "requested"


class Discovered(_OfRequest, frozen=True, kw_only=True):
    """discovery: the targets where it could run, and why not elsewhere."""

    stage: ClassVar[str] = "discovered"
    targets: tuple[str, ...]
    rejections: tuple[Rejection, ...] = ()
    inventory_revision: int


class Evaluated(_OfRequest, frozen=True, kw_only=True):
    """policy: what the rules allow there, and how much they like it (`scores` 0..100, one per target, in order).

    `facts` are those of a target that decided (shared/hub/facts.py), as they were at `facts_revision` of the inventory.
    `warnings` are of policies that warn: which of the targets they would have rejected.
    """

    stage: ClassVar[str] = "evaluated"
    targets: tuple[str, ...]
    scores: tuple[float, ...] = ()
    rules: tuple[RuleResult, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    inventory_revision: int
    error: str = ""  # a rule of the placement itself that is invalid: nothing can be decided until it is mended
    facts: tuple[str, ...] = ()
    facts_revision: int = 0
    warnings: tuple[Rejection, ...] = ()


class Scheduled(_OfRequest, frozen=True, kw_only=True):
    """scheduler: the proposal, with alternates; `rules` are those of the policy stage, for proposed targets only.

    `facts` are those by which targets were allowed or not; each choice has a digest of them. `warnings` are why
    policies that warn would have rejected a proposed target, by its id.
    """

    stage: ClassVar[str] = "scheduled"
    proposal: Proposal
    rules: dict[str, dict[str, str]] = {}  # target id -> rule -> outcome
    rejections: tuple[Rejection, ...] = ()
    inventory_revision: int
    facts: tuple[str, ...] = ()
    warnings: dict[str, tuple[str, ...]] = {}


class Decided(_OfPlacement, frozen=True, kw_only=True):
    """decision: what holds now for this placement, or why nothing could be decided.

    `decided_at` is that of the PlacementDecision, in RFC 3339, empty as 0.1 sends it, or where none was written.
    `unreported` and `cause` are those of the request. `previous` are the targets that were selected before, by id; as
    they still are after a refusal. `unmet` says which of them rules or required affinity do not allow (any more), and
    `unread` which part of the workload cannot be read any more. `warning` says of which selected targets policies warn,
    and `overridden` which overrides of operators are in force. `preempted` says which targets it has to
    leave for others.
    """

    stage: ClassVar[str] = "decided"
    selected: tuple[Choice, ...] = ()
    refusal: Refusal | None = None
    contended: bool = False  # lost the race for capacity and all alternates: worth another attempt soon
    considered: int = 0
    trace: str = ""
    decided_at: str = ""
    unreported: str = ""
    previous: tuple[str, ...] = ()
    cause: Cause | None = None
    unmet: str = ""
    unread: str = ""
    warning: str = ""
    overridden: str = ""
    preempted: str = ""


class Overwritten(Decided, frozen=True, kw_only=True):
    """decision: what is on record of an earlier attempt, before that of a newer one takes its place.

    Who wrote it may have died before anybody was told. Told in events alone.
    """

    stage: ClassVar[str] = ""


class Assigned(_OfPlacement, frozen=True, kw_only=True):
    """decision: what binding is to do for this placement in this one target.

    What is applied is what was decided: the input that `digest` stands for, with these `overrides`, by their places in
    the spec. Without a digest, as 0.1 sends it, what is found is applied, with the overrides that match the target.

    `reserved` and `shrinks_to` are what the reservation says there (`resources`), for the record; 0.1 sends neither.
    On removal, `held` is the attempt by which the placement holds its place there, 0 where it holds none.

    `block`: a placement in very many targets is dealt out over copies in blocks of them, numbered from 0. Bound and
    Observed have it from here, so that what concerns a target comes to the copy that applied there.
    """

    stage: ClassVar[str] = "assigned"
    target: str
    block: int = 0
    remove: bool = False
    after: tuple[str, ...] = ()  # on removal: targets that must be ready first, so that adding precedes removing
    orphan: bool = False  # on removal: leave the objects in the target, forget them
    vanished: bool = False  # on removal: the workspace is gone, and with it all that could be asked there
    replicas: int | None = None
    overrides: tuple[int, ...] = ()
    digest: str = ""
    reserved: Resources = {}
    shrinks_to: Resources | None = None
    held: int = 0

    def key(self) -> tuple[str, ...]:
        return (*super().key(), self.target)

    def id(self) -> str:
        return f"{super().id()}:{self.target}:{'remove' if self.remove else 'apply'}"


class Bound(_OfPlacement, frozen=True, kw_only=True):
    """binding: how far it got in this one target. `version` is that of the PlacementBinding that says the same.

    `applied` is the attempt whose decision the target has in full, 0 while it may have any other, or 0.1 wrote this.
    `vanished`: it was removed since the workspace is gone, so there is nothing to be asked or written there. `held`:
    what was removed, as `Assigned` names it. `reason` is one word for programs, where something failed; `since`, in
    RFC 3339, is when it became so. `repeated`: others may have been told before.
    """

    stage: ClassVar[str] = "bound"
    target: str
    block: int = 0
    phase: str
    vanished: bool = False
    applied: int = 0
    held: int = 0
    reason: str = ""
    message: str = ""
    objects: tuple[ObjectHealth, ...] = ()
    version: str = ""
    since: str = ""
    repeated: bool = False

    def key(self) -> tuple[str, ...]:
        return (*super().key(), self.target)

    def id(self) -> str:
        return f"{super().id()}:{self.target}:{self.phase}:{self.version}"


class Observed(_OfPlacement, frozen=True, kw_only=True):
    """status: how the objects of this placement are in this one target, and which of them are gone.

    `revision` is that of the report in the bucket REPORTS which says the same; `answers` is the version of the
    PlacementBinding that it is about, empty where that is not known.
    """

    stage: ClassVar[str] = "observed"
    target: str
    block: int = 0
    objects: tuple[ObjectHealth, ...] = ()
    missing: tuple[str, ...] = ()
    revision: int
    answers: str = ""
    traceparent: str = ""  # of the trace by which it was applied

    @property
    def continues(self) -> str:
        return self.traceparent

    def key(self) -> tuple[str, ...]:
        return (*super().key(), self.target)

    def id(self) -> str:
        fact = (self.target, self.objects, self.missing, self.revision, self.answers)
        return f"{super().id()}:{hashlib.sha256(msgspec.json.encode(fact)).hexdigest()[:16]}"


class Withdrawn(_OfPlacement, frozen=True, kw_only=True):
    """controller: the Placement is being deleted; undo what was decided (or leave it, when `orphan`).

    `targets` are those that it is decided for or bound in, as far as the controller knew.
    """

    stage: ClassVar[str] = "withdrawn"
    orphan: bool = False
    targets: tuple[str, ...] = ()


class Reported(_OfPlacement, frozen=True, kw_only=True):
    """status, or the controller: something about this placement changed that its status should show."""

    stage: ClassVar[str] = "reported"
    fact: str  # a digest of what changed: the same news twice is one message

    def id(self) -> str:
        return f"{super().id()}:{self.fact}"


class Displayed(_OfPlacement, frozen=True, kw_only=True):
    """status: the phase that a Placement's status says, since when (RFC 3339). Told in events alone.

    The head is that of which this is so: of Ready, the oldest that is applied in one of its targets. `became` is when
    this became so, in RFC 3339. `repeated`: it may have been told before.
    """

    stage: ClassVar[str] = ""
    phase: str
    since: str
    became: str
    targets: int = 0
    degraded: int = 0
    message: str = ""
    repeated: bool = False


class Cleared(_OfPlacement, frozen=True, kw_only=True):
    """controller: nothing is left of a Placement that is being deleted, which goes now.

    `since` is when that was seen, in RFC 3339. Told in events alone.
    """

    stage: ClassVar[str] = ""
    since: str


MESSAGES: tuple[type[Message], ...] = (
    Requested,
    Discovered,
    Evaluated,
    Scheduled,
    Decided,
    Assigned,
    Bound,
    Observed,
    Withdrawn,
    Reported,
)

_ENCODER = msgspec.json.Encoder()


def encode(message: Message) -> bytes:
    """The message as it travels."""
    return _ENCODER.encode(message)


def decoder(kind: type[Message]) -> "msgspec.json.Decoder[Any]":
    """A decoder for one kind of message; raises `msgspec.ValidationError`, which names the path, on anything else."""
    return msgspec.json.Decoder(kind)
