"""The account of a tenant in NATS: it may ask for its workspace as its users, and follow its events, and no more."""

import re

import msgspec

from shared.broker.nats import permissions
from shared.broker.nats.permissions import INBOXES, Account, Heard, Right
from shared.broker.tokens import escape
from shared.pipeline.events import EVENTS_STREAM, EVENTS_SUBJECT
from shared.pipeline.requests import ANSWERS_SUBJECT, RequestSubject

INTAKE = "intake"
"""The worker in whose account `decide` is answered, and from which answers come."""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_WORKSPACE = re.compile(r"([a-z0-9]([-.:a-z0-9]*[a-z0-9])?)?")


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """What its account is called, its workspace (empty on a hub without), and the users as whom it may ask."""

    name: str
    workspace: str
    users: tuple[str, ...] = ()


def tenant(text: str) -> Tenant:
    """The tenant that NAME=WORKSPACE or NAME=WORKSPACE/USER,USER says. Raises ValueError, with a sentence."""
    name, given, rest = text.partition("=")
    workspace, _, users = rest.partition("/")
    if not given or not _NAME.fullmatch(name):
        raise ValueError(f"{text!r}: a tenant is NAME=WORKSPACE/USER,USER, its name of a-z, 0-9 and -")
    if not _WORKSPACE.fullmatch(workspace):
        raise ValueError(f"{text!r}: {workspace!r} is no path of a workspace")
    found = tuple(users.split(",")) if users else ()
    if "" in found:
        raise ValueError(f"{text!r}: the name of a user is empty")
    return Tenant(name=name, workspace=workspace, users=found)


def account_of(tenant: Tenant) -> Account:
    """Its account: requests as its users, their answers, and the events of its workspace, from the stream."""
    rights: list[Right] = []
    for user in tenant.users:
        rights += permissions.publishing(RequestSubject(tenant.workspace, user, "place").subject)
        rights += permissions.publishing(RequestSubject(tenant.workspace, user, "withdraw").subject)
        rights += permissions.asking(RequestSubject(tenant.workspace, user, "decide").subject, INTAKE)
    workspace = escape(tenant.workspace)
    events = f"{EVENTS_SUBJECT}.{workspace}.>"
    return Account(
        name=tenant.name,
        summary=f"a tenant: asks for {tenant.workspace or 'the hub'} as {', '.join(tenant.users) or 'nobody'}, "
        "follows its events",
        rights=(*rights, *permissions.replaying_part(EVENTS_STREAM, events)),
        hears=(Heard(f"{ANSWERS_SUBJECT}.{workspace}.>", of=INTAKE, local=INBOXES),),
    )
