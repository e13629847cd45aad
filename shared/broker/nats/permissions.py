"""Who may do what in NATS: an account per worker, which imports from the broker's account what the worker needs.

Permissions on subjects are not enough. Whoever may ask a server anything names the subject that the answer is sent to,
and NATS does not hold that against the permissions of who asked: a worker could have an entry that it wrote itself sent
to a stage or a bucket that it must not write to. In an account of its own the answer goes no further than the account.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from shared.broker.bus import Consumer
from shared.broker.dead import DEAD, DEAD_STREAM
from shared.broker.nats import blobs
from shared.broker.nats.store import bucket_name
from shared.broker.store import Bucket

BROKER = "moorage"
"""The account in which the streams are."""

API = "$JS.API"
API_PREFIX = "JS.moorage.API"
"""The prefix of JetStream's API in other accounts: `$JS.API` is that of their own account, which has no JetStream."""

INBOXES = "_INBOX.>"


class Right(msgspec.Struct, frozen=True, order=True):
    """A subject of another account (the broker's, or that of this name) that may be published to. `answers`: how many
    come, if any are awaited."""

    subject: str
    answers: Literal["one", "many"] = "one"
    of: str = ""

    @property
    def local(self) -> str:
        """The subject as the account that imports it has it."""
        return f"{API_PREFIX}{self.subject.removeprefix(API)}" if self.subject.startswith(f"{API}.") else self.subject


class Heard(msgspec.Struct, frozen=True, order=True):
    """A subject of an account of this name that may be subscribed to, as `local`.

    Only what that account's own user publishes is heard: NATS does not hand on what came from a third account.
    """

    subject: str
    of: str
    local: str


class User(msgspec.Struct, frozen=True, kw_only=True):
    """One of several users of an account, with rights of its own in it; it may answer what it is asked there."""

    name: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An account with one user, or with these `users`. `own`: subjects that are used within the account alone; `among`:
    such that its copies both send to and listen on. `serves`: those on which it answers the accounts that have a right
    to ask it. `hears`: what it may subscribe to.
    """

    name: str
    summary: str
    rights: tuple[Right, ...]
    own: tuple[str, ...] = ()
    serves: tuple[str, ...] = ()
    among: tuple[str, ...] = ()
    hears: tuple[Heard, ...] = ()
    users: tuple[User, ...] | None = None

    @property
    def user_names(self) -> tuple[str, ...]:
        """Whose keys it takes."""
        return (self.name,) if self.users is None else tuple(each.name for each in self.users)


def publishing(subject: str) -> tuple[Right, ...]:
    """To publish messages on what a subject covers."""
    return (Right(subject),)


def asking(subject: str, account: str) -> tuple[Right, ...]:
    """To ask what an account serves."""
    return (Right(subject, of=account),)


def consuming(consumer: Consumer) -> tuple[Right, ...]:
    """To fetch from one consumer, answer what was fetched, look whether it is there, and park what is given up."""
    where = f"{consumer.stream}.{consumer.name}"
    return (
        Right(f"{API}.CONSUMER.MSG.NEXT.{where}", "many"),
        Right(f"{API}.CONSUMER.INFO.{where}"),
        Right(f"$JS.ACK.{where}.>"),
        Right(f"{DEAD}.{consumer.subject.removeprefix('moorage.')}"),
        Right(f"{DEAD}.garbage.{consumer.name}"),
    )


def replaying_part(stream: str, subject: str) -> tuple[Right, ...]:
    """To read the messages of a stream on what a subject covers: NATS compares it with the filter that is asked for.

    Whoever knows the name of a consumer could fetch from it too; so readers give theirs names that nobody guesses.
    """
    return (
        Right(f"{API}.CONSUMER.CREATE.{stream}.*.{subject}"),
        Right(f"{API}.CONSUMER.MSG.NEXT.{stream}.*", "many"),
    )


def looking(stream: str) -> tuple[Right, ...]:
    """To see whether a stream is there."""
    return (Right(f"{API}.STREAM.INFO.{stream}"),)


def looking_through(stream: str) -> tuple[Right, ...]:
    """To see any message of a stream, as its leader has it."""
    return (Right(f"{API}.STREAM.MSG.GET.{stream}"),)


def looking_up(stream: str, subject: str) -> tuple[Right, ...]:
    """To see the newest message of a stream on any of the subjects that one covers."""
    return (Right(f"{API}.DIRECT.GET.{stream}.{subject}"),)


def reading(bucket: Bucket[Any]) -> tuple[Right, ...]:
    """To read a bucket and to follow it."""
    name = bucket_name(bucket)
    return (
        *looking(f"KV_{name}"),
        Right(f"{API}.STREAM.MSG.GET.KV_{name}"),
        Right(f"{API}.DIRECT.GET.KV_{name}", "many"),
        Right(f"{API}.CONSUMER.CREATE.KV_{name}.*.$KV.{name}.>"),
        Right(f"{API}.CONSUMER.MSG.NEXT.KV_{name}.*", "many"),
    )


def writing(bucket: Bucket[Any]) -> tuple[Right, ...]:
    """To write any key of a bucket."""
    return (Right(f"$KV.{bucket_name(bucket)}.>"),)


def payloads() -> tuple[Right, ...]:
    """To store and fetch large payloads."""
    return (
        *looking(blobs.STREAM),
        Right(f"$O.{blobs.BUCKET}.C.>"),
        Right(f"$O.{blobs.BUCKET}.M.>"),
        Right(f"{API}.DIRECT.GET.{blobs.STREAM}", "many"),
        Right(f"{API}.DIRECT.GET.{blobs.STREAM}.$O.{blobs.BUCKET}.M.>"),
    )


def replaying(subject: str) -> tuple[Right, ...]:
    """To read the dead letters, and to send them again to where they came from."""
    return (
        *looking(DEAD_STREAM),
        Right(f"{API}.DIRECT.GET.{DEAD_STREAM}"),
        Right(f"{API}.STREAM.MSG.DELETE.{DEAD_STREAM}"),
        *publishing(subject),
    )


def configuration(accounts: Sequence[Account], keys: Mapping[str, str]) -> dict[str, Any]:
    """The accounts as nats-server's configuration has them; `keys` are the public nkeys, by the names of the users.

    The administrator, whose key is that of `admin`, is in the broker's account and may do everything there.
    """
    users: dict[Right, list[str]] = {}
    for account in accounts:
        for right in account.rights:
            users.setdefault(right, []).append(account_name(account.name))
    exports: dict[str, list[dict[str, Any]]] = {}
    for right, names in sorted(users.items()):
        exports.setdefault(right.of, []).append({**_exported(right), "accounts": names})
    for account in accounts:
        for heard in account.hears:
            told = {"stream": heard.subject, "accounts": [account_name(account.name)]}
            exports.setdefault(heard.of, []).append(told)
    broker = {"jetstream": "enabled", "users": [{"nkey": keys["admin"]}], "exports": exports.get("", [])}
    others = {account_name(each.name): _account(each, keys, exports.get(each.name)) for each in accounts}
    return {BROKER: broker, **others}


def _exported(right: Right) -> dict[str, str]:
    return {"service": right.subject, **({"response_type": "stream"} if right.answers == "many" else {})}


def account_name(name: str) -> str:
    """What the account of that name is called in NATS; the empty name is the broker's."""
    return f"{BROKER}-{name}" if name else BROKER


def _account(account: Account, keys: Mapping[str, str], exports: list[dict[str, Any]] | None) -> dict[str, Any]:
    if account.users is not None:
        return {"users": [_user(each, keys[each.name]) for each in account.users], "exports": exports or []}
    permissions: dict[str, Any] = {
        "publish": _only((*_local(account.rights), *account.own, *account.among)),
        "subscribe": _only((INBOXES, *account.serves, *account.among, *(each.local for each in account.hears))),
    }
    if account.serves:
        permissions["allow_responses"] = True
    imports = [
        {
            "service": {"account": account_name(right.of), "subject": right.subject},
            **({"to": right.local} if right.local != right.subject else {}),
        }
        for right in account.rights
    ]
    imports += [
        {
            "stream": {"account": account_name(each.of), "subject": each.subject},
            **({"to": each.local} if each.local != each.subject else {}),
        }
        for each in account.hears
    ]
    user = {"nkey": keys[account.name], "permissions": permissions}
    return {"users": [user], "imports": imports, **({"exports": exports} if exports else {})}


def _user(user: User, key: str) -> dict[str, Any]:
    permissions = {"publish": _only(user.publish), "subscribe": _only(user.subscribe), "allow_responses": True}
    return {"nkey": key, "permissions": permissions}


def _only(subjects: Iterable[str]) -> dict[str, list[str]]:
    """What is allowed, and nothing else. NATS takes an empty list for everything."""
    allowed = list(subjects)
    return {"allow": allowed} if allowed else {"deny": [">"]}


def _local(rights: Iterable[Right]) -> list[str]:
    return [right.local for right in rights]
