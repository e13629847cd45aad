"""That what other workers go by is published before a round begins that goes by it."""

from services.controller.watches import Watches
from shared.broker.bus import Retry
from shared.broker.table import View
from shared.model.declared import DeclaredKind
from shared.model.quota import WorkspaceQuota, lies_in
from shared.model.refs import KindRef, QuotaRef, above

SOON = 0.05
"""Seconds until it is looked again."""
QUOTAS_SOON = 0.5
"""The same where a quota is lacking: whoever has written more of them than there is room for waits for long."""


def ensure_published(workspace: str, watches: Watches, kinds: View[DeclaredKind], quotas: View[WorkspaceQuota]) -> None:
    """Raises `Retry` until what is declared for a workspace, and what bounds it, is published: binding goes by kinds,
    decision by quotas."""
    for watch in filter(None, map(watches.get, above(workspace))):
        for kind in watch.declared():
            if kinds.get(KindRef(workspace=kind.workspace, name=kind.name).key) != kind:
                raise Retry(SOON, "a WorkloadKind is just being published")
        for here in watch.quotas.in_force().values():
            bounded = lies_in(workspace, here.bounds)
            if bounded and quotas.get(QuotaRef(workspace=here.workspace, name=here.name).key) != here:
                raise Retry(QUOTAS_SOON, "a PlacementQuota is just being published")
