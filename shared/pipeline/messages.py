"""Every message of the pipeline, in pipeline order, each with its subject.

    controller -> Requested -> discovery -> Discovered -> policy -> Evaluated -> scheduler -> Scheduled -> decision
    decision   -> Decided (one per placement) and Assigned (one per target) -> binding -> Bound -> status
    status     -> Observed (one per target) -> binding, which records health and corrects drift
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
from shared.model.request import Request
from shared.model.resources import Resources

PIPELINE = "moorage.pipeline"


class Message(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag_field="type", tag=True
):
    """Base of all messages: who it is about, how new it is, and where it travels."""

    stage: ClassVar[str]

    @property
    def about(self) -> PlacementRef:
        """The placement that this message is about."""
        raise NotImplementedError

    @property
    def at(self) -> Head:
        """The head that it was made for."""
        raise NotImplementedError

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
    """policy: what the rules allow there, and how much they like it (`scores` 0..100, one per target, in order)."""

    stage: ClassVar[str] = "evaluated"
    targets: tuple[str, ...]
    scores: tuple[float, ...] = ()
    rules: tuple[RuleResult, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    inventory_revision: int
    error: str = ""  # a rule of the placement itself that is invalid: nothing can be decided until it is mended


class Scheduled(_OfRequest, frozen=True, kw_only=True):
    """scheduler: the proposal, with alternates; `rules` are those of the policy stage, for proposed targets only."""

    stage: ClassVar[str] = "scheduled"
    proposal: Proposal
    rules: dict[str, dict[str, str]] = {}  # target id -> rule -> outcome
    rejections: tuple[Rejection, ...] = ()
    inventory_revision: int


class Decided(_OfPlacement, frozen=True, kw_only=True):
    """decision: what holds now for this placement, or why nothing could be decided.

    `decided_at` is that of the PlacementDecision, in RFC 3339, empty as 0.1 sends it, or where none was written.
    `unreported` is that of the request.
    """

    stage: ClassVar[str] = "decided"
    selected: tuple[Choice, ...] = ()
    refusal: Refusal | None = None
    contended: bool = False  # lost the race for capacity and all alternates: worth another attempt soon
    considered: int = 0
    trace: str = ""
    decided_at: str = ""
    unreported: str = ""


class Assigned(_OfPlacement, frozen=True, kw_only=True):
    """decision: what binding is to do for this placement in this one target.

    What is applied is what was decided: the input that `digest` stands for, with these `overrides`, by their places in
    the spec. Without a digest, as 0.1 sends it, what is found is applied, with the overrides that match the target.

    `reserved` and `shrinks_to` are what the reservation says there (`resources`), for the record; 0.1 sends neither.
    """

    stage: ClassVar[str] = "assigned"
    target: str
    remove: bool = False
    after: tuple[str, ...] = ()  # on removal: targets that must be ready first, so that adding precedes removing
    orphan: bool = False  # on removal: leave the objects in the target, forget them
    vanished: bool = False  # on removal: the workspace is gone, and with it all that could be asked there
    replicas: int | None = None
    overrides: tuple[int, ...] = ()
    digest: str = ""
    reserved: Resources = {}
    shrinks_to: Resources | None = None

    def key(self) -> tuple[str, ...]:
        return (*super().key(), self.target)

    def id(self) -> str:
        return f"{super().id()}:{self.target}:{'remove' if self.remove else 'apply'}"


class Bound(_OfPlacement, frozen=True, kw_only=True):
    """binding: how far it got in this one target. `version` is that of the PlacementBinding that says the same.

    `applied` is the attempt whose decision the target has in full, 0 while it may have any other, or 0.1 wrote this.
    `vanished`: it was removed since the workspace is gone, so there is nothing to be asked or written there.
    """

    stage: ClassVar[str] = "bound"
    target: str
    phase: str
    vanished: bool = False
    applied: int = 0
    message: str = ""
    objects: tuple[ObjectHealth, ...] = ()
    version: str = ""

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
    objects: tuple[ObjectHealth, ...] = ()
    missing: tuple[str, ...] = ()
    revision: int
    answers: str = ""

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
