"""Rights in NATS around tunnels: of the workers that open streams, and of the agents, each in its own tunnel alone."""

import re

import msgspec

from shared.broker.nats import permissions
from shared.broker.nats.permissions import Account, Heard, Right, User
from shared.broker.tunnel import subjects

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class TunnelUser(msgspec.Struct, frozen=True, kw_only=True):
    """A target, by whatever name its operator has for it, and the id of its tunnel."""

    name: str
    tunnel: str


def tunnel_user(text: str) -> TunnelUser:
    """What NAME=ID says. Raises ValueError, with a sentence."""
    name, _, tunnel = text.partition("=")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{text!r}: a tunnel is NAME=ID, its name of a-z, 0-9 and -")
    if not subjects.is_tunnel_id(tunnel):
        raise ValueError(f"{text!r}: {tunnel!r} is no id of a tunnel, which `moorage cluster describe` shows")
    return TunnelUser(name=name, tunnel=tunnel)


def inbox(tunnel: str) -> str:
    """The prefix of the subjects that answers to the agent of a tunnel come on: users of one account share no other."""
    return f"_INBOX_{tunnel}"


def opening() -> tuple[Right, ...]:
    """To open streams through all tunnels, to send what goes through them, and to look whether agents are there."""
    wanted = (subjects.opening("*"), subjects.looking("*", "*"), subjects.upward("*", "*"))
    return tuple(right for each in wanted for right in permissions.asking(each, subjects.ACCOUNT))


def hearing() -> Heard:
    """What agents send."""
    subject = subjects.downward("*", "*")
    return Heard(subject, of=subjects.ACCOUNT, local=subject)


def account_of(tunnels: tuple[TunnelUser, ...] = ()) -> Account:
    """The account of the agents: each hears what is meant for its tunnel, and speaks as that, and no more."""
    return Account(
        name=subjects.ACCOUNT,
        summary="agents beside targets: each carries the connections of its own target",
        rights=(),
        users=tuple(
            User(
                name=f"tunnel-{each.name}",
                publish=(subjects.downward(each.tunnel, "*"),),
                subscribe=(
                    subjects.opening(each.tunnel),
                    subjects.looking(each.tunnel, "*"),
                    subjects.upward(each.tunnel, "*"),
                    f"{inbox(each.tunnel)}.>",
                ),
            )
            for each in tunnels
        ),
    )
