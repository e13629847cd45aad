"""Ledgers over state in memory."""

from services.decision.ledger import Ledger
from shared.broker.memory.store import MemoryStore
from shared.broker.table import Table
from shared.pipeline.buckets import RESERVATIONS


async def new_table() -> Table:
    store = MemoryStore()
    await store.provision((RESERVATIONS,))
    return Table(store, RESERVATIONS)


def ledger_over(table: Table) -> Ledger:
    """A ledger that sees nothing by itself: the worst case of a view that lags behind."""
    return Ledger(table, table.follow())
