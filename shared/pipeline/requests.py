"""Requests on the bus: their stream, and the subjects that say for which workspace and as whom something is asked."""

from typing import NamedTuple

from shared.broker.bus import Stream
from shared.broker.tokens import escape, join, split
from shared.model.asking import REMEMBERED
from shared.model.words import VERBS, Verb

REQUESTS_SUBJECT = "moorage.requests"
ANSWERS_SUBJECT = "moorage.answers"
INBOX = "_INBOX."
"""What the subject begins with that an answer is sent to."""

REPLY_TO = "replyto"
"""The extension attribute of a request that says where its answer is sent to. A subject that is published to with a
reply subject will not do: the broker itself answers there, that the request is stored."""

STREAM = Stream(
    name="MOORAGE_REQUESTS",
    subjects=(f"{REQUESTS_SUBJECT}.*.*.place", f"{REQUESTS_SUBJECT}.*.*.withdraw"),
    description="Requests to place and to withdraw, until they are answered",
    max_age=REMEMBERED,
    backlog=1000,
    duplicate_window=0.1,  # the least: its ids are one set for all tenants, and we know requests by their own
)


class RequestSubject(NamedTuple):
    """For which workspace (empty on a hub without), as which user, and what."""

    workspace: str
    user: str
    verb: Verb

    @property
    def subject(self) -> str:
        """Where such requests are published."""
        return f"{REQUESTS_SUBJECT}.{join(self.workspace, self.user)}.{self.verb}"

    @classmethod
    def parse(cls, subject: str) -> "RequestSubject":
        """What a subject says. Raises ValueError for one that is none, or does not spell a name as `escape` does."""
        head, _, rest = subject.partition(f"{REQUESTS_SUBJECT}.")
        tokens = rest.split(".")
        if head or len(tokens) != 3:
            raise ValueError(f"no subject of requests: {subject[:100]!r}")
        workspace, user = split(".".join(tokens[:2]))
        verb = next((each for each in VERBS if each == tokens[2]), None)
        if verb is None or not user or [escape(workspace), escape(user)] != tokens[:2]:
            raise ValueError(f"no subject of requests: {subject[:100]!r}")
        return cls(workspace, user, verb)
