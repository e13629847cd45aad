"""What is wanted of a placement: all that a decision depends on besides the targets."""

import msgspec

from shared.api import Targets
from shared.hub.counting import Counted
from shared.model.request import OperatorOverride, Requester, ScopeLabels, WorkloadObject


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of a placement, and its digest."""

    requester: Requester | None
    counted: Counted
    input_digest: str
    digest: str
    beyond: bool = False  # it is refused since its workspace has too many
    unread: str = ""  # which part of its workload cannot be read any more, and why
    kept: tuple[WorkloadObject, ...] = ()  # what counts of that part
    targets: Targets | None = None  # where it stays meanwhile
    overrides: tuple[OperatorOverride, ...] = ()
    scope_labels: ScopeLabels = ScopeLabels()
