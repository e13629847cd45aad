"""Writes to one target: in turns within a process, and between processes with as little reading as possible."""

import asyncio

import pytest

from services.decision.ledger import Ledger
from shared.broker.memory.store import MemoryBucket, MemoryStore
from shared.broker.store import Bucket, Raw
from shared.broker.table import Table
from shared.model.refs import PlacementRef, TargetRef
from shared.model.target import Target
from shared.pipeline.buckets import RESERVATIONS
from tests.support.values import head
from tests.unit.decision.ledgers import ledger_over, wants

NODE = Target(workspace="root:platform", name="one", ready=True, allocatable={"cpu": 100.0})
OTHER = Target(workspace="root:platform", name="two", ready=True, allocatable={"cpu": 100.0})


class Counting(MemoryStore):
    """A store that counts entries as they are read, whose writes take a turn of the loop, and wait while it is held."""

    def __init__(self) -> None:
        super().__init__()
        self.read = 0
        self.let = asyncio.Event()
        self.let.set()

    def raw(self, bucket: Bucket) -> MemoryBucket:
        store, kept = self, super().raw(bucket)

        class Counted(MemoryBucket):
            async def entries(self, prefix: str = "") -> list[Raw]:
                found = await super().entries(prefix)
                store.read += len(found)
                return found

            async def since(self, revision: int, prefix: str = "") -> list[Raw]:
                found = await super().since(revision, prefix)
                store.read += len(found)
                return found

            async def update(self, key: str, value: bytes, revision: int, *, within: str | None = None) -> int:
                await store.let.wait()
                await asyncio.sleep(0)
                return await super().update(key, value, revision, within=within)

        kept.__class__ = Counted
        return kept


@pytest.fixture
async def store() -> Counting:
    made = Counting()
    await made.provision((RESERVATIONS,))
    return made


def ref(number: int) -> PlacementRef:
    return PlacementRef(workspace="root:team", namespace="apps", name=f"app-{number}")


async def reserve(ledger: Ledger, number: int, target: Target = NODE) -> None:
    assert await ledger.reserve(target, wants(ref(number), head(1), {"cpu": 1.0}))


async def test_within_a_process_nobody_loses_a_race(store: Counting) -> None:
    ledger = ledger_over(Table(store, RESERVATIONS))
    await asyncio.gather(*(reserve(ledger, number) for number in range(50)))
    assert ledger.lost == 0
    assert store.read == 0
    assert ledger.reserved(NODE.id, ref(99)) == {"cpu": 50.0}


async def test_who_loses_to_another_process_reads_what_it_missed_and_no_more(store: Counting) -> None:
    late, quick = (ledger_over(Table(store, RESERVATIONS)) for _ in range(2))
    for number in range(20):
        await reserve(late, number)
    for number in range(20, 23):
        await reserve(quick, number)
    store.read = 0
    await reserve(late, 23)
    assert late.lost == 1
    assert store.read == 3


async def test_a_deletion_costs_a_writer_no_more_than_a_write(store: Counting) -> None:
    late, quick = (Ledger(table, table.follow(), lambda: 1000.0) for table in 2 * [Table(store, RESERVATIONS)])
    for number in range(20):
        await reserve(late, number)
    await late.release(TargetRef.of(NODE).key, ref(3), head(2))
    await reserve(quick, 20)
    assert await quick.forget_released(2000.0, 10) == 1
    store.read = 0
    await reserve(late, 21)
    assert (late.lost, store.read) == (1, 2)


async def test_who_dies_while_it_has_its_turn_gives_it_up(store: Counting) -> None:
    ledger = ledger_over(Table(store, RESERVATIONS))
    store.let.clear()
    dying, waiting = (asyncio.create_task(reserve(ledger, number)) for number in (1, 2))
    await asyncio.sleep(0)
    dying.cancel()
    store.let.set()
    async with asyncio.timeout(5):
        await waiting
    assert ledger.reserved(NODE.id, ref(9)) == {"cpu": 1.0}
