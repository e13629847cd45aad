"""Ledgers over state in memory."""

from collections.abc import Callable
from typing import Any

from services.decision.charges import Charges
from services.decision.ledger import Ledger
from services.decision.preempting import Nominations
from services.decision.settings import DecisionSettings
from shared.broker.memory.store import MemoryStore
from shared.broker.store import Store
from shared.broker.table import Table, View
from shared.hub.access import Access
from shared.model.decision import Reservation
from shared.model.refs import Head, PlacementRef
from shared.model.request import HeadEntry
from shared.model.resources import Resources
from shared.model.target import Target
from shared.pipeline.buckets import CHARGES, HEADS, INVENTORY, RESERVATIONS, VICTIMS


async def new_table() -> Table:
    store = MemoryStore()
    await store.provision((RESERVATIONS,))
    return Table(store, RESERVATIONS)


def ledger_over(table: Table) -> Ledger:
    """A ledger that sees nothing by itself: the worst case of a view that lags behind."""
    return Ledger(table, table.follow())


def nominations_over(
    store: Store,
    ledger: Ledger,
    access: Access,
    inventory: View[Target] | None = None,
    heads: View[HeadEntry] | None = None,
    settings: DecisionSettings | None = None,
    clock: Callable[[], float] = lambda: 1000.0,
    charges: Charges | None = None,
) -> Nominations:
    """Nominations over state in memory, and views that see nothing by themselves where none are given."""
    table = Table(store, VICTIMS)
    return Nominations(
        settings or DecisionSettings(),
        ledger=ledger,
        charges=charges or Charges(Table(store, CHARGES), Table(store, CHARGES).follow(), clock),
        access=access,
        inventory=inventory or Table(store, INVENTORY).follow(),
        heads=heads or Table(store, HEADS).follow(),
        table=table,
        victims=table.follow(),
        clock=clock,
    )


def wants(
    placement: PlacementRef, at: Head, resources: Resources, labels: dict[str, str] | None = None, **more: Any
) -> Reservation:
    return Reservation(placement=placement, head=at, resources=resources, labels=labels or {}, **more)
