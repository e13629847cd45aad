"""One SyncTarget that is looked at again and again."""

import asyncio
from dataclasses import dataclass, field

from services.discovery.health import Health
from shared.api import SyncTarget
from shared.kube.client import Client
from shared.model.refs import TargetRef
from shared.model.target import Stray


@dataclass
class Watched:
    """A SyncTarget, how its cluster is, and what is due there."""

    workspace: str
    client: Client  # of the workspace
    found: SyncTarget
    health: Health
    nodes_due: float = 0.0
    apis_due: float = 0.0
    asked: int = 0  # how often something was to be read anew, beside what is due by time
    asked_for_all: bool = False  # the last look was for nodes and APIs as well
    suspects: frozenset[Stray] = frozenset()
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None

    def read_anew(self) -> None:
        """Have all of it looked at now, whatever is due."""
        self.nodes_due = 0.0
        self.read_apis_anew()

    def read_apis_anew(self) -> None:
        """Have it looked at what the cluster serves now."""
        self.apis_due = 0.0
        self.asked += 1
        self.changed.set()

    @property
    def key(self) -> str:
        return self.ref.key

    @property
    def ref(self) -> TargetRef:
        return TargetRef(workspace=self.workspace, name=self.found.metadata.name)
