"""What is asked on the bus, and what is answered: the data of requests and of answers, as CloudEvents carry them."""

from typing import Annotated, Any, ClassVar, Literal, get_args

import msgspec
from msgspec import Meta

from shared.model.refs import PlacementRef
from shared.model.value import Value
from shared.model.words import Verb

REMEMBERED = 86_400.0
"""Seconds for which a request waits at most, and is known by its source and id once it was answered."""


def request_type(verb: Verb) -> str:
    """The type of a request, as CloudEvents have it."""
    return f"io.moorage.placement.{verb}.v1"


class _Asking(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True
):
    """What every request may have. The subject says for which workspace and as whom: more than repeat it nobody can."""

    workspace: Annotated[str | None, Meta(description="The workspace of the subject; any other is refused.")] = None
    user: Annotated[str | None, Meta(description="The user of the subject; any other is refused.")] = None


class PlaceRequest(_Asking, frozen=True, kw_only=True):
    """Make a Placement, or change it, together with the objects that it places. A bare Placement will do as well."""

    placement: Annotated[dict[str, Any], Meta(description="The manifest: name, namespace, labels, annotations, spec.")]
    objects: Annotated[
        tuple[dict[str, Any], ...],
        Meta(description="Manifests of objects in the same namespace, applied before it.", max_length=100),
    ] = ()
    hold: Annotated[str, Meta(description="The id of a hold, whose capacity this takes over.")] = ""


class WithdrawRequest(_Asking, frozen=True, kw_only=True):
    """Delete a Placement; what it placed is removed from the targets."""

    namespace: str
    name: str


class DecideRequest(_Asking, frozen=True, kw_only=True):
    """Decide without writing: a Placement that comes along, or one that is there, with changes."""

    placement: Annotated[dict[str, Any] | None, Meta(description="The manifest of a Placement.")] = None
    objects: Annotated[
        tuple[dict[str, Any], ...], Meta(description="Manifests of the objects that it selects.", max_length=100)
    ] = ()
    namespace: Annotated[str, Meta(description="Of a Placement that is there.")] = ""
    name: Annotated[str, Meta(description="Of a Placement that is there.")] = ""
    changes: Annotated[dict[str, Any], Meta(description="A merge patch (RFC 7386) of its spec.")] = {}
    reserve: Annotated[str, Meta(description="How long to hold the capacity, such as `30s`; empty: not at all.")] = ""


class RequestRef(Value, frozen=True, kw_only=True):
    """A request, as its publisher knows it. `id` and `source` are empty where the event had none that can be used."""

    verb: str
    user: str
    source: str = ""
    id: str = ""


class AcceptedData(Value, frozen=True, kw_only=True):
    """A request was carried out on the hub: what it asks for is written there, and the pipeline has yet to do it."""

    kind: ClassVar[str] = "accepted"

    placement: Annotated[PlacementRef, Meta(description="Workspace (empty on a hub without), namespace and name.")]
    request: Annotated[RequestRef, Meta(description="The request that this answers.")]
    uid: Annotated[str, Meta(description="UID of the Placement; empty where one to be withdrawn was not there.")] = ""
    generation: Annotated[int, Meta(description="Generation of its spec.")] = 0
    events: Annotated[str, Meta(description="The subject of its events, to be subscribed to.")] = ""


RequestRejectionCode = Literal[
    "InvalidEvent",  # no CloudEvent, or one with attributes that cannot be used
    "InvalidRequest",  # its data are not what its type asks for, or the API server says that they are invalid
    "UnknownUser",  # the operator has mapped nobody to the user of the subject
    "NotTheSubjects",  # it names another workspace or user than its subject
    "IdInUse",  # its source and id are those of another request
    "Superseded",  # a request that came later about the same placement has been carried out already
    "Forbidden",  # the user may not do that there
    "NotFound",  # there is no such workspace, or namespace, or it serves no Placements
    "Conflict",  # somebody else owns what it would change
    "Unavailable",  # it cannot be carried out at present
    "Busy",  # more is asked at once than is answered
    "Timeout",  # there was no answer in time
    "TooLarge",  # the answer is larger than a message
]
"""Why requests are rejected; on the wire the code is open."""


class RejectedData(Value, frozen=True, kw_only=True):
    """A request was not carried out, and will not be; another try is another request, with an id of its own."""

    kind: ClassVar[str] = "rejected"

    request: Annotated[RequestRef, Meta(description="The request that this answers.")]
    code: Annotated[str, Meta(description="Why, as one word for programs.", examples=[*get_args(RequestRejectionCode)])]
    message: Annotated[str, Meta(description="Why, as a sentence for people; the API server's own where it has one.")]
    placement: Annotated[PlacementRef | None, Meta(description="The placement, where one is named.")] = None


class AnswerEntry(Value, frozen=True, kw_only=True):
    """An answer as it is published: the event's id, its subject in NATS, and the event itself in structured mode.

    `rejection` is why the request is not carried out, empty where it was.
    """

    id: str
    subject: str
    event: str
    rejection: str = ""


class RequestEntry(Value, frozen=True, kw_only=True):
    """A request that was begun. `digest` stands for its content, `sequence` is its place in the stream: of several
    messages that are the same request, that of the first.

    `answer` is None until it has one. `at` is when it was begun, in RFC 3339, `about` what it asks for, for people.
    """

    digest: str
    sequence: int
    at: str
    about: str
    answer: AnswerEntry | None = None


class LastAsked(Value, frozen=True, kw_only=True):
    """The last request about a placement that was begun: its place in the stream, its key in the bucket `requests`, and
    the subject that it was published on."""

    sequence: int
    request: str
    subject: str = ""
