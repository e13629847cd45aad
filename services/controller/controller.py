"""The parts of the controller, as its functions work with them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from services.controller.agenda import Agenda
from services.controller.observer import Observer
from services.controller.reconcile import Reconciler
from services.controller.settings import ControllerSettings
from services.controller.watches import Watches
from shared.aio.workqueue import WorkQueue
from shared.broker.table import Table
from shared.model.declared import DeclaredKind
from shared.model.policy import PolicyEntry
from shared.model.quota import WorkspaceQuota
from shared.model.refs import PlacementRef


@dataclass
class Controller:
    """The parts of the controller, as its functions work with them."""

    settings: ControllerSettings
    queue: WorkQueue[PlacementRef]
    watches: Watches
    observer: Observer
    reconciler: Reconciler
    policies_table: Table[PolicyEntry]
    changed_policies: WorkQueue[tuple[str, str]]
    kinds_table: Table[DeclaredKind]
    changed_kinds: WorkQueue[tuple[str, str]]
    quotas_table: Table[WorkspaceQuota]
    changed_quotas: WorkQueue[tuple[str, str]]
    agenda: Agenda
    left: Callable[[str], Awaitable[bool]]
    """Whether a workspace has none of our kinds any more for certain."""
    asked_unfollowed: float = 0.0
    """When it was last asked whether workspaces are gone that are not followed."""
    swept_world: float = 0.0
    """As of which change of the world the sweep has looked at those that such a change may help."""
