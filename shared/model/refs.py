"""How a placement and a target are named, and how new a fact about a placement is."""

from shared.model.value import Value


class PlacementRef(Value, frozen=True, kw_only=True, order=True):
    """Which Placement: its workspace path (empty on a hub without workspaces), namespace and name."""

    workspace: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.workspace}/{self.namespace}/{self.name}"


class Head(Value, frozen=True, kw_only=True):
    """How new a fact about a placement is.

    `attempt` grows by one with every new round for the same placement name, also when the object is deleted and made
    anew, so that it alone orders two heads. `uid` and `generation` say which object was read.
    """

    uid: str
    generation: int
    attempt: int

    def older_than(self, other: "Head") -> bool:
        """Whether `other` supersedes this head."""
        return self.attempt < other.attempt


def split_target(target: str) -> tuple[str, str]:
    """Workspace and name of a target id."""
    workspace, _, name = target.rpartition("/")
    return workspace, name
