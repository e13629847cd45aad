"""Ledgers over state in memory."""

from services.decision.ledger import Ledger
from shared.broker.memory.store import MemoryStore
from shared.broker.table import Table
from shared.model.decision import Reservation
from shared.model.refs import Head, PlacementRef
from shared.model.resources import Resources
from shared.pipeline.buckets import RESERVATIONS


async def new_table() -> Table:
    store = MemoryStore()
    await store.provision((RESERVATIONS,))
    return Table(store, RESERVATIONS)


def ledger_over(table: Table) -> Ledger:
    """A ledger that sees nothing by itself: the worst case of a view that lags behind."""
    return Ledger(table, table.follow())


def wants(
    placement: PlacementRef, at: Head, resources: Resources, labels: dict[str, str] | None = None, **more: bool
) -> Reservation:
    return Reservation(placement=placement, head=at, resources=resources, labels=labels or {}, **more)
