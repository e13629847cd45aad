"""What once gave capacity away twice, each as a script of who does what when."""

import asyncio
from collections.abc import Callable

import pytest

from services.decision.book import Superseded
from services.decision.ledger import Ledger, key_of
from services.decision.rebuild import restored
from shared.broker.memory.store import MemoryBucket, MemoryStore
from shared.broker.store import Bucket, Raw
from shared.broker.table import Table
from shared.model.decision import Reservation
from shared.model.refs import PlacementRef, TargetRef
from shared.model.target import Target
from shared.pipeline.buckets import RESERVATIONS
from tests.support.values import head
from tests.unit.decision.ledgers import ledger_over, new_table, wants

NODE = Target(workspace="root:platform", name="one", ready=True, allocatable={"cpu": 4.0})
PREFIX = TargetRef.of(NODE).key


def ref(name: str) -> PlacementRef:
    return PlacementRef(workspace="root:team", namespace="apps", name=name)


async def held(table: Table, name: str = "a") -> Reservation:
    entry = await table.get(key_of(NODE.id, ref(name)))
    assert entry is not None
    return entry.value


class SlowReads(MemoryStore):
    """A store whose reads of many entries are answered as they were asked, once they are `let`."""

    def __init__(self) -> None:
        super().__init__()
        self.let = asyncio.Event()
        self.let.set()

    def raw(self, bucket: Bucket) -> MemoryBucket:
        store, kept = self, super().raw(bucket)

        class Slow(MemoryBucket):
            async def entries(self, prefix: str = "") -> list[Raw]:
                found = await super().entries(prefix)
                await store.let.wait()
                return found

        kept.__class__ = Slow
        return kept


async def test_what_becomes_smaller_keeps_its_place_until_that_is_applied() -> None:
    table = await new_table()
    ledger, other = ledger_over(table), ledger_over(table)
    await ledger.reserve(NODE, wants(ref("a"), head(1), {"cpu": 3.0}))
    await ledger.reserve(NODE, wants(ref("a"), head(2), {"cpu": 1.0}))
    assert not await other.reserve(NODE, wants(ref("b"), head(1), {"cpu": 3.0}))
    await ledger.shrink(PREFIX, ref("a"), 1)
    assert not await other.reserve(NODE, wants(ref("b"), head(1), {"cpu": 3.0}))
    await ledger.shrink(PREFIX, ref("a"), 2)
    assert await other.reserve(NODE, wants(ref("b"), head(1), {"cpu": 3.0}))


async def test_what_becomes_smaller_twice_keeps_what_runs_until_the_last_is_applied() -> None:
    table = await new_table()
    ledger = ledger_over(table)
    for attempt, cpu in ((1, 3.0), (2, 2.0), (3, 1.0)):
        await ledger.reserve(NODE, wants(ref("a"), head(attempt), {"cpu": cpu}))
    await ledger.shrink(PREFIX, ref("a"), 2)
    assert (await held(table)).resources == {"cpu": 3.0}
    await ledger.shrink(PREFIX, ref("a"), 3)
    assert (await held(table)).resources == {"cpu": 1.0}


async def test_a_copy_that_lags_behind_does_not_make_smaller_what_another_knows_to_run() -> None:
    table = await new_table()
    quick, late = ledger_over(table), ledger_over(table)
    await late.reserve(NODE, wants(ref("a"), head(1), {"cpu": 1.0}))
    await quick.reserve(NODE, wants(ref("a"), head(2), {"cpu": 3.0}))
    await late.reserve(NODE, wants(ref("a"), head(3), {"cpu": 2.0}))
    assert (await held(table)).resources == {"cpu": 3.0}
    assert (await held(table)).shrinks_to == {"cpu": 2.0}


async def test_a_round_that_fails_does_not_undo_what_a_newer_one_reserved() -> None:
    table = await new_table()
    older, newer = ledger_over(table), ledger_over(table)
    await older.reserve(NODE, wants(ref("a"), head(1), {"cpu": 1.0}))
    taken = await older.reserve(NODE, wants(ref("a"), head(2), {"cpu": 2.0}))
    assert taken
    await newer.reserve(NODE, wants(ref("a"), head(3), {"cpu": 3.0}))
    await older.undo([taken])
    assert (await held(table)).resources == {"cpu": 3.0}
    assert (await held(table)).head == head(3)


@pytest.mark.parametrize("first", ["the stalled one reserved first", "the stalled one reserved last"])
async def test_of_two_deliveries_of_one_attempt_the_loser_does_not_undo_what_the_winner_decided(first: str) -> None:
    table = await new_table()
    stalled, winner = ledger_over(table), ledger_over(table)
    wanted = wants(ref("a"), head(1), {"cpu": 3.0})
    if first == "the stalled one reserved last":
        await winner.reserve(NODE, wanted)
    taken = await stalled.reserve(NODE, wanted)
    assert taken
    if first == "the stalled one reserved first":
        await winner.reserve(NODE, wanted)
    await stalled.undo([taken])
    assert (await held(table)).resources == {"cpu": 3.0}


async def test_what_a_round_undid_can_be_taken_by_others_and_not_by_older_attempts() -> None:
    table = await new_table()
    ledger = ledger_over(table)
    taken = await ledger.reserve(NODE, wants(ref("a"), head(2), {"cpu": 3.0}))
    assert taken
    await ledger.undo([taken])
    with pytest.raises(Superseded):
        await ledger.reserve(NODE, wants(ref("a"), head(1), {"cpu": 3.0}))
    assert await ledger.reserve(NODE, wants(ref("b"), head(1), {"cpu": 4.0}))


async def test_an_older_read_never_replaces_a_newer_picture() -> None:
    """Were the read to replace it, b's entry would be missing, and c's news would lift the revision beyond that."""
    store = SlowReads()
    await store.provision((RESERVATIONS,))
    table = Table(store, RESERVATIONS)
    view = table.follow()
    ledger, other = Ledger(table, view), ledger_over(table)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(view.run()), tasks.create_task(ledger.follow())]
        await view.synced.wait()
        await other.reserve(NODE, wants(ref("x"), head(1), {"cpu": 0.5}))
        store.let.clear()
        slow = tasks.create_task(ledger.holds(PREFIX, wants(ref("x"), head(1), {"cpu": 0.5})))  # it reads all anew
        await _turns(lambda: False)
        await Table(store, RESERVATIONS).update(*_entry("b", 3.0), _last(store), within=PREFIX)
        await _turns(lambda: bool(ledger.held_by(ref("b"))))
        store.let.set()
        await slow
        await Table(store, RESERVATIONS).update(*_entry("c", 0.0), _last(store), within=PREFIX)
        await _turns(lambda: bool(ledger.held_by(ref("c"))))
        assert not await ledger.reserve(NODE, wants(ref("e"), head(1), {"cpu": 1.0}))
        for task in running:
            task.cancel()
    assert sum(entry.value.resources.get("cpu", 0.0) for entry in await table.entries(PREFIX)) == 3.5


def _entry(name: str, cpu: float) -> tuple[str, Reservation]:
    return key_of(NODE.id, ref(name)), wants(ref(name), head(1), {"cpu": cpu})


def _last(store: MemoryStore) -> int:
    return max((raw.revision for raw in store.raw(RESERVATIONS)._last.values()), default=0)


async def _turns(holds: Callable[[], bool], turns: int = 50) -> None:
    """Let the others run until something holds, for some turns of the loop at most."""
    for _ in range(turns):
        if holds():
            return
        await asyncio.sleep(0)


async def test_what_a_read_lacks_and_is_deleted_is_not_waited_for_for_ever() -> None:
    table = await new_table()
    ledger, other = (Ledger(table, table.follow(), lambda: 1000.0) for _ in range(2))
    await ledger.reserve(NODE, wants(ref("b"), head(1), {"cpu": 1.0}))
    await ledger.reserve(NODE, wants(ref("a"), head(1), {"cpu": 1.0}))
    await ledger.release(PREFIX, ref("a"), head(1))
    assert not await other.reserve(NODE, wants(ref("c"), head(1), {"cpu": 9.0}))
    assert await other.forget_released(2000.0, 10) == 1
    assert await ledger.reserve(NODE, wants(ref("c"), head(1), {"cpu": 3.0}))


async def test_news_that_lag_behind_do_not_take_away_what_was_written_since() -> None:
    table = await new_table()
    view = table.follow()
    ledger, other = Ledger(table, view, lambda: 1000.0), Ledger(table, table.follow(), lambda: 1000.0)
    await other.reserve(NODE, wants(ref("a"), head(1), {"cpu": 1.0}))
    await other.release(PREFIX, ref("a"), head(1))
    await other.forget_released(2000.0, 10)
    await ledger.reserve(NODE, wants(ref("a"), head(2), {"cpu": 3.0}))
    await ledger.release(PREFIX, ref("a"), head(3))
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(view.run()), tasks.create_task(ledger.follow())]
        await view.synced.wait()
        await _turns(lambda: False)
        with pytest.raises(Superseded):
            await ledger.reserve(NODE, wants(ref("a"), head(2), {"cpu": 3.0}))
        for task in running:
            task.cancel()


@pytest.mark.parametrize(
    ("found", "resources", "attempt"),
    [
        pytest.param(None, {"cpu": 3.0}, 2, id="nothing"),
        pytest.param(wants(ref("a"), head(1), {"cpu": 1.0}), {"cpu": 3.0}, 2, id="less, of an older attempt"),
        pytest.param(wants(ref("a"), head(1), {"cpu": 4.0}), {"cpu": 4.0}, 2, id="more, of an older attempt"),
        pytest.param(wants(ref("a"), head(3), {"cpu": 1.0}), {"cpu": 3.0}, 3, id="less, of a newer attempt"),
        pytest.param(wants(ref("a"), head(3), {"cpu": 4.0}), {"cpu": 4.0}, 3, id="more, of a newer attempt"),
        pytest.param(
            Reservation(placement=ref("a"), head=head(3), resources={}, released_at=1.0), {"cpu": 3.0}, 2, id="undone"
        ),
    ],
)
def test_what_is_rebuilt_holds_what_was_decided_whatever_was_reserved_in_the_empty_bucket(
    found: Reservation | None, resources: dict[str, float], attempt: int
) -> None:
    made = restored(found, wants(ref("a"), head(2), {"cpu": 3.0}))
    assert (made.resources, made.head.attempt, made.released_at) == (resources, attempt, 0.0)
