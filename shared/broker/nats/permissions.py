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
    """A subject of the broker's account that may be published to. `answers`: how many come, if any are awaited."""

    subject: str
    answers: Literal["one", "many"] = "one"

    @property
    def local(self) -> str:
        """The subject as the account that imports it has it."""
        return f"{API_PREFIX}{self.subject.removeprefix(API)}" if self.subject.startswith(f"{API}.") else self.subject


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An account with one user. `own`: subjects that are used within the account alone."""

    name: str
    summary: str
    rights: tuple[Right, ...]
    own: tuple[str, ...] = ()


def publishing(subject: str) -> tuple[Right, ...]:
    """To publish messages on what a subject covers."""
    return (Right(subject),)


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


def looking(stream: str) -> tuple[Right, ...]:
    """To see whether a stream is there."""
    return (Right(f"{API}.STREAM.INFO.{stream}"),)


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
    """The accounts as nats-server's configuration has them; `keys` are the public nkeys, by the names of the accounts.

    The administrator, whose key is that of `admin`, is in the broker's account and may do everything there.
    """
    users: dict[Right, list[str]] = {}
    for account in accounts:
        for right in account.rights:
            users.setdefault(right, []).append(account_name(account))
    exports = [{**_exported(right), "accounts": names} for right, names in sorted(users.items())]
    broker = {"jetstream": "enabled", "users": [{"nkey": keys["admin"]}], "exports": exports}
    return {BROKER: broker, **{account_name(each): _importing(each, keys[each.name]) for each in accounts}}


def _exported(right: Right) -> dict[str, str]:
    return {"service": right.subject, **({"response_type": "stream"} if right.answers == "many" else {})}


def account_name(account: Account) -> str:
    return f"{BROKER}-{account.name}"


def _importing(account: Account, key: str) -> dict[str, Any]:
    allowed = [*_local(account.rights), *account.own]
    permissions = {"publish": {"allow": allowed}, "subscribe": {"allow": [INBOXES]}}
    imports = [
        {
            "service": {"account": BROKER, "subject": right.subject},
            **({"to": right.local} if right.local != right.subject else {}),
        }
        for right in account.rights
    ]
    return {"users": [{"nkey": key, "permissions": permissions}], "imports": imports}


def _local(rights: Iterable[Right]) -> list[str]:
    return [right.local for right in rights]
