"""How a placement and a target are named, and how new a fact about a placement is.

Each name has two spellings: an `id` for people, messages and dictionaries; and a `key` for buckets and subjects, with
every part of it escaped.
"""

import hashlib
from typing import Protocol, Self

from shared.api import TargetReference
from shared.broker.tokens import join, split
from shared.model.value import Value

_NOMINATION = "nomination:"


class _Offered(Protocol):
    """Something of a workspace, as an object refers to it, or is."""

    @property
    def workspace(self) -> str: ...
    @property
    def name(self) -> str: ...


def id_of(workspace: str, name: str) -> str:
    """`<workspace>/<name>`, unique over all workspaces."""
    return f"{workspace}/{name}"


class _Ref(Value, frozen=True, kw_only=True, order=True):
    """Something that a workspace has, by the workspace's path (empty on a hub without workspaces) and its name."""

    workspace: str
    name: str

    def __str__(self) -> str:
        return self.id

    @property
    def id(self) -> str:
        """`<workspace>/<name>`, unique over all workspaces."""
        return id_of(self.workspace, self.name)

    @property
    def key(self) -> str:
        """Its key in buckets."""
        return join(self.workspace, self.name)

    @classmethod
    def parse(cls, id: str) -> Self:
        """The one that an id names."""
        workspace, _, name = id.rpartition("/")
        return cls(workspace=workspace, name=name)

    @classmethod
    def of(cls, offered: _Offered) -> Self:
        """The one that an object refers to, or is."""
        return cls(workspace=offered.workspace, name=offered.name)

    @classmethod
    def from_key(cls, key: str) -> Self:
        """The one that a key stands for. Raises ValueError for a key that has not two parts."""
        workspace, name = split(key)
        return cls(workspace=workspace, name=name)

    @staticmethod
    def is_key(key: str) -> bool:
        """True for a key that has two parts; somebody may have written another into a bucket."""
        return len(split(key)) == 2


class TargetRef(_Ref, frozen=True, kw_only=True, order=True):
    """A SyncTarget, for example `root:platform/eu-west-1`. What is kept per target has keys that begin with its own."""

    @property
    def reference(self) -> TargetReference:
        """As objects of the API refer to it."""
        return TargetReference(workspace=self.workspace, name=self.name)

    @classmethod
    def owning(cls, key: str) -> Self:
        """The target that a longer key begins with, as those of reservations do."""
        workspace, name, *_ = split(key)
        return cls(workspace=workspace, name=name)


class PolicyRef(_Ref, frozen=True, kw_only=True, order=True):
    """A PlacementPolicy."""


class KindRef(_Ref, frozen=True, kw_only=True, order=True):
    """A WorkloadKind."""


class QuotaRef(_Ref, frozen=True, kw_only=True, order=True):
    """A PlacementQuota."""


class PlacementRef(Value, frozen=True, kw_only=True, order=True):
    """A Placement: its workspace path (empty on a hub without workspaces), namespace and name."""

    workspace: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return self.id

    @property
    def id(self) -> str:
        """`<workspace>/<namespace>/<name>`."""
        return f"{self.workspace}/{self.namespace}/{self.name}"

    @property
    def key(self) -> str:
        """Its key in the buckets `heads` and `waiting`, and a part of its keys in others."""
        return join(self.workspace, self.namespace, self.name)

    def hold(self, id: str, asker: str) -> "PlacementRef":
        """The name under which a user has capacity held in its namespace; no object can have it, and no other user."""
        whose = hashlib.sha256(asker.encode()).hexdigest()[:16]
        return PlacementRef(workspace=self.workspace, namespace=self.namespace, name=f"hold:{id}:{whose}")

    @property
    def nomination(self) -> "PlacementRef":
        """The name under which room is held for it that others have to leave; no object can have it."""
        return PlacementRef(workspace=self.workspace, namespace=self.namespace, name=f"{_NOMINATION}{self.name}")

    @property
    def nominated(self) -> "PlacementRef":
        """The placement that a nomination is for."""
        return PlacementRef(
            workspace=self.workspace, namespace=self.namespace, name=self.name.removeprefix(_NOMINATION)
        )

    @property
    def is_nomination(self) -> bool:
        """Whether it is the name of a nomination, and no placement's."""
        return self.name.startswith(_NOMINATION)

    def key_in(self, target: str) -> str:
        """Its key in the bucket `reports`, for one target by id."""
        return join(self.workspace, self.namespace, self.name, target)

    @classmethod
    def parse(cls, id: str) -> Self:
        """The placement that an id names. Raises ValueError for what has not three parts."""
        workspace, namespace, name = id.split("/")
        return cls(workspace=workspace, namespace=namespace, name=name)

    @classmethod
    def from_key(cls, key: str) -> Self:
        """The placement that a key stands for. Raises ValueError for one that has not three parts."""
        workspace, namespace, name = split(key)
        return cls(workspace=workspace, namespace=namespace, name=name)


class Head(Value, frozen=True, kw_only=True):
    """How new a fact about a placement is.

    `attempt` grows by one with every new round for the same placement name, also when the object is deleted and made
    anew, so that it alone orders two heads. `uid` and `generation` say which object was read.
    """

    uid: str
    generation: int
    attempt: int

    def older_than(self, other: "Head") -> bool:
        """True if `other` supersedes this head."""
        return self.attempt < other.attempt


def above(workspace: str) -> tuple[str, ...]:
    """A workspace path and its ancestors, the root first: `root`, `root:a`, `root:a:b`."""
    parts = workspace.split(":")
    return tuple(":".join(parts[: length + 1]) for length in range(len(parts)))
