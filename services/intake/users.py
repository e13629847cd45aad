"""The users that requests are published as, and who each of them is on the hub: a file that the operator keeps.

users:
  - user: ci                              # as in the subject: moorage.requests.<workspace>.ci.place
    workspaces: [root:team-a]             # where it may be used; none named: in all that NATS lets it speak for
    username: pipeline@example.com        # on the hub; the same as `user` where it is left out
    groups: [team-a]
    extra: {}
    system: false                         # true: username or groups may begin with `system:`
"""

import logging
import re
from pathlib import Path
from typing import Any

import msgspec
import yaml

from shared.model.request import Requester
from shared.process.main import StartError

log = logging.getLogger("moorage.intake")

MOST_BYTES = 4 << 20
AUTHENTICATED = "system:authenticated"
"""The group that everybody is in whom an API server knows; who is reviewed without it has less than they have."""

FORBIDDEN_GROUPS = frozenset({"system:masters", "system:kcp:admin"})
"""Groups that RBAC is not asked for: nobody is to be that by a message."""

SYSTEM = "system:"
"""What names begin with that Kubernetes itself gives."""

_WORKSPACE = re.compile(r"([a-z0-9]([-.:a-z0-9]*[a-z0-9])?)?")


class UserEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One user of the file."""

    user: str
    workspaces: tuple[str, ...] = ()
    username: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: dict[str, tuple[str, ...]] = {}
    system: bool = False

    @property
    def requester(self) -> Requester:
        """Who this is on the hub."""
        groups = dict.fromkeys((*self.groups, AUTHENTICATED))
        return Requester(username=self.username or self.user, uid=self.uid, groups=tuple(groups), extra=self.extra)


class _UsersFile(msgspec.Struct, forbid_unknown_fields=True):
    users: tuple[UserEntry, ...] = ()


class Users:
    """The file, read again when it changes. One that cannot be read any more leaves what was read before."""

    def __init__(self, path: str) -> None:
        """Raises StartError where there is a path, and no usable file."""
        self._path = Path(path) if path else None
        self._stamp: tuple[int, int, int] | None = None
        self._users: dict[tuple[str, str], Requester] = {}
        if self._path is not None:
            try:
                self._stamp = _stamp(self._path)
                self._users = read(self._path)
            except (OSError, ValueError) as error:
                raise StartError(f"setting users_file: {error}") from None

    def get(self, workspace: str, user: str) -> Requester | None:
        """Who a user of a workspace is on the hub; None for one that the file does not name."""
        self._look()
        return self._users.get((workspace, user)) or self._users.get(("", user))

    def _look(self) -> None:
        if self._path is None:
            return
        try:
            stamp = _stamp(self._path)
            if stamp == self._stamp:
                return
            self._stamp = stamp
            self._users = read(self._path)
        except (OSError, ValueError) as error:
            log.error("the users file cannot be used, those read before stay", extra={"error": str(error)})  # noqa: TRY400 - its trace says no more


def read(path: Path) -> dict[tuple[str, str], Requester]:
    """The users of a file by workspace (empty: any) and name. Raises OSError, and ValueError saying what is wrong."""
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"{path} has more than {MOST_BYTES >> 20} MiB")
    try:
        found = msgspec.convert(_loaded(content), _UsersFile)
    except (yaml.YAMLError, msgspec.ValidationError, RecursionError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from None
    users: dict[tuple[str, str], Requester] = {}
    for entry in found.users:
        if problem := _problem(entry):
            raise ValueError(f"{path}: user {entry.user!r}: {problem}")
        for workspace in entry.workspaces or ("",):
            if (workspace, entry.user) in users:
                raise ValueError(f"{path}: user {entry.user!r} stands twice for {workspace or 'all workspaces'}")
            users[workspace, entry.user] = entry.requester
    return users


def _problem(entry: UserEntry) -> str:
    """Why an entry cannot be used; empty where it can be."""
    if not entry.user:
        return "the name of a user is empty"
    names = (entry.user, entry.username, entry.uid, *entry.groups)
    for name in (*names, *entry.extra, *(value for values in entry.extra.values() for value in values)):
        if not name.isprintable() or name != name.strip():
            return f"{name!r} has control characters, or spaces around it"
    if any("*" in name for name in names) or any(not _WORKSPACE.fullmatch(each) for each in entry.workspaces):
        return "names and workspaces are spelled out: nothing stands for several"
    if "" in entry.groups or len({*entry.groups}) < len(entry.groups):
        return "a group is empty, or stands twice"
    if privileged := FORBIDDEN_GROUPS.intersection(entry.groups):
        return f"{min(privileged)} is a group that RBAC does not bind"
    own = {entry.username or entry.user, *entry.groups} - {AUTHENTICATED}
    if reserved := sorted(name for name in own if name.startswith(SYSTEM)):
        return (
            ""
            if entry.system
            else f"{reserved[0]} is a name that Kubernetes gives: say `system: true` if that is meant"
        )
    return ""


class _Loader(yaml.SafeLoader):
    """Refuses what stands twice in one mapping, of which YAML would take the last."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    twice = next((key for number, key in enumerate(keys) if key in keys[:number]), None)
    if twice is not None:
        raise yaml.constructor.ConstructorError(None, None, f"{twice!r} stands twice", node.start_mark)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _loaded(content: bytes) -> Any:
    return yaml.load(content, _Loader) or {}  # noqa: S506 - a safe loader, but stricter


def _stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return (status.st_ino, status.st_mtime_ns, status.st_size)
