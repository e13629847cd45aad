"""Reservations: nothing is given away twice, whoever writes, in whatever order."""

import asyncio
import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.decision.book import Superseded
from services.decision.ledger import Ledger, key_of
from shared.broker.table import Table
from shared.model.refs import PlacementRef, TargetRef
from shared.model.target import Target
from tests.support.values import head
from tests.unit.decision.ledgers import ledger_over, new_table, wants

NODE = Target(workspace="root:platform", name="one", ready=True, allocatable={"cpu": 4.0, "pods": 10.0})


def ref(name: str) -> PlacementRef:
    return PlacementRef(workspace="root:team", namespace="apps", name=name)


async def total(table: Table) -> float:
    return sum(entry.value.resources.get("cpu", 0.0) for entry in await table.entries(TargetRef.of(NODE).key))


async def test_what_fits_is_reserved_and_what_does_not_is_refused():
    table = await new_table()
    ledger = ledger_over(table)
    assert await ledger.reserve(NODE, wants(ref("a"), head(), {"cpu": 3.0}))
    assert not await ledger.reserve(NODE, wants(ref("b"), head(), {"cpu": 1.5}))
    assert await ledger.reserve(NODE, wants(ref("c"), head(), {"cpu": 1.0}))
    assert await total(table) == 4.0


async def test_allocated_by_others_is_not_free():
    busy = Target(workspace="w", name="n", ready=True, allocatable={"cpu": 4.0}, allocated={"cpu": 3.5})
    assert not await ledger_over(await new_table()).reserve(busy, wants(ref("a"), head(), {"cpu": 1.0}))


async def test_a_target_that_is_not_ready_gives_only_what_the_placement_holds_there():
    table = await new_table()
    ledger = ledger_over(table)
    assert await ledger.reserve(NODE, wants(ref("a"), head(1), {"cpu": 2.0}))
    gone = msgspec.structs.replace(NODE, ready=False, allocatable={})
    assert await ledger_over(table).reserve(gone, wants(ref("a"), head(2), {"cpu": 2.0}))
    assert not await ledger.reserve(gone, wants(ref("a"), head(3), {"cpu": 2.5}))
    assert not await ledger.reserve(gone, wants(ref("b"), head(1), {"cpu": 0.5}))
    assert await total(table) == 2.0


async def test_a_placement_replaces_what_it_had_itself():
    table = await new_table()
    ledger = ledger_over(table)
    assert await ledger.reserve(NODE, wants(ref("a"), head(1), {"cpu": 3.0}))
    assert await ledger.reserve(NODE, wants(ref("a"), head(2), {"cpu": 4.0}))
    assert await total(table) == 4.0


async def test_a_refusal_is_never_due_to_a_view_that_lags_behind():
    table = await new_table()
    first, second = ledger_over(table), ledger_over(table)
    assert await first.reserve(NODE, wants(ref("a"), head(1), {"cpu": 4.0}))
    assert not await second.reserve(NODE, wants(ref("b"), head(), {"cpu": 1.0}))
    await first.release(TargetRef.of(NODE).key, ref("a"), head(2))
    assert await second.reserve(NODE, wants(ref("b"), head(), {"cpu": 1.0}))


async def test_an_older_head_neither_takes_nor_gives_back():
    table = await new_table()
    ledger = ledger_over(table)
    assert await ledger.reserve(NODE, wants(ref("a"), head(5), {"cpu": 1.0}))
    with pytest.raises(Superseded):
        await ledger.reserve(NODE, wants(ref("a"), head(4), {"cpu": 2.0}))
    await ledger.release(TargetRef.of(NODE).key, ref("a"), head(4))
    assert await total(table) == 1.0


async def test_what_was_released_can_be_taken_by_others_and_is_not_held_any_more():
    table = await new_table()
    ledger = ledger_over(table)
    await ledger.reserve(NODE, wants(ref("a"), head(1), {"cpu": 4.0}))
    assert ledger.held_by(ref("a")) == {TargetRef.of(NODE).key}
    await ledger.release(TargetRef.of(NODE).key, ref("a"), head(1))
    assert ledger.held_by(ref("a")) == set()
    assert list(ledger.holders()) == []
    assert await ledger.reserve(NODE, wants(ref("b"), head(1), {"cpu": 4.0}))


async def test_a_reservation_carries_its_placements_labels_and_follows_when_they_change():
    table = await new_table()
    ledger = ledger_over(table)
    for attempt, labels in enumerate(({"app": "db"}, {"app": "cache"}), start=1):
        assert await ledger.reserve(NODE, wants(ref("a"), head(attempt), {"cpu": 1.0}, labels))
        assert (await table.get(key_of(NODE.id, ref("a")))).value.labels == labels


async def test_a_followed_ledger_knows_what_others_wrote():
    table = await new_table()
    view = table.follow()
    ledger = Ledger(table, view)
    tasks = [asyncio.create_task(view.run()), asyncio.create_task(ledger.follow())]
    await ledger_over(table).reserve(NODE, wants(ref("a"), head(), {"cpu": 2.0}))
    async with asyncio.timeout(5):
        while ledger.held_by(ref("a")) != {TargetRef.of(NODE).key}:  # noqa: ASYNC110 - waits for no time
            await asyncio.sleep(0)
    assert ledger.reserved(NODE.id, ref("b")) == {"cpu": 2.0}
    assert ledger.reserved(NODE.id, ref("a")) == {"cpu": 0.0}
    for task in tasks:
        task.cancel()


async def test_what_a_failed_round_reserved_is_undone_to_what_was_there_before():
    table = await new_table()
    ledger = ledger_over(table)
    other = Target(workspace="root:platform", name="two", ready=True, allocatable={"cpu": 4.0})
    await ledger.reserve(NODE, wants(ref("a"), head(1), {"cpu": 1.0}))
    before = ledger.held(ref("a"))
    one = await ledger.reserve(NODE, wants(ref("a"), head(2), {"cpu": 3.0}))
    two = await ledger.reserve(other, wants(ref("a"), head(2), {"cpu": 2.0}))
    assert one
    assert two
    await ledger.undo([one, two])
    assert ledger.held(ref("a")) == before
    assert await total(table) == 1.0
    assert await ledger.reserve(NODE, wants(ref("b"), head(1), {"cpu": 3.0}))


async def test_what_was_released_long_ago_is_forgotten_and_what_holds_its_place_is_not():
    table = await new_table()
    now = [1000.0]
    ledger = Ledger(table, table.follow(), lambda: now[0])
    for name in "abc":
        await ledger.reserve(NODE, wants(ref(name), head(1), {"cpu": 1.0}))
    await ledger.release(TargetRef.of(NODE).key, ref("a"), head(1))
    now[0] = 2000.0
    await ledger.release(TargetRef.of(NODE).key, ref("b"), head(1))
    assert await ledger.forget_released(1500.0, 10) == 1
    assert {entry.key for entry in await table.entries()} == {key_of(NODE.id, ref(name)) for name in "bc"}
    assert await ledger.forget_released(1500.0, 10) == 0
    assert await ledger.forget_released(3000.0, 10) == 1
    assert await total(table) == 1.0
    assert await ledger.reserve(NODE, wants(ref("a"), head(2), {"cpu": 3.0}))
    assert not await ledger.reserve(NODE, wants(ref("b"), head(2), {"cpu": 0.5}))


async def test_a_reservation_that_takes_nothing_holds_its_place_until_it_is_released():
    table = await new_table()
    ledger = Ledger(table, table.follow(), lambda: 1000.0)
    await ledger.reserve(NODE, wants(ref("a"), head(1), {}, orphan=True))
    assert ledger.held_by(ref("a")) == {TargetRef.of(NODE).key}
    ((target, held),) = ledger.holders()
    assert (target, held.orphan) == (NODE.id, True)
    assert await ledger.forget_released(2000.0, 10) == 0
    await ledger.release(TargetRef.of(NODE).key, ref("a"), head(1))
    assert list(ledger.holders()) == []
    assert await ledger.forget_released(2000.0, 10) == 1


async def test_what_another_has_taken_again_meanwhile_is_not_forgotten():
    table = await new_table()
    late, quick = (Ledger(table, table.follow(), lambda: 1000.0) for _ in range(2))
    await late.reserve(NODE, wants(ref("a"), head(1), {"cpu": 1.0}))
    await late.release(TargetRef.of(NODE).key, ref("a"), head(1))
    assert await quick.reserve(NODE, wants(ref("a"), head(2), {"cpu": 4.0}))
    assert await late.forget_released(2000.0, 10) == 0
    assert await total(table) == 4.0


async def test_a_followed_ledger_goes_on_after_others_forgot_what_was_released():
    table = await new_table()
    view = table.follow()
    following, other = Ledger(table, view), Ledger(table, table.follow(), lambda: 1000.0)
    await other.reserve(NODE, wants(ref("a"), head(1), {"cpu": 1.0}))
    await other.release(TargetRef.of(NODE).key, ref("a"), head(1))
    tasks = [asyncio.create_task(view.run()), asyncio.create_task(following.follow())]
    await view.synced.wait()
    assert await other.forget_released(2000.0, 10) == 1
    async with asyncio.timeout(5):
        while await following.forget_released(math.inf, 10) or view.entries:  # noqa: ASYNC110 - waits for no time
            await asyncio.sleep(0)
    assert await following.reserve(NODE, wants(ref("b"), head(1), {"cpu": 4.0}))
    for task in tasks:
        task.cancel()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from([0.5, 1.0, 1.5, 3.0]), st.booleans(), st.integers(0, 3)),
        min_size=1,
        max_size=40,
    )
)
def test_many_ledgers_at_once_never_give_out_more_than_there_is(steps):
    """Any interleaving of writers with stale pictures keeps the sum within what is allocatable."""

    async def scenario() -> None:
        table = await new_table()
        ledgers = [ledger_over(table) for _ in range(4)]

        async def step(number: int, name: int, cpu: float, release: bool, who: int) -> None:
            if who == 3:
                await ledgers[who].forget_released(math.inf, 2)
            if release:
                await ledgers[who].release(TargetRef.of(NODE).key, ref(str(name)), head(number + 1))
                return
            try:
                await ledgers[who].reserve(NODE, wants(ref(str(name)), head(number + 1), {"cpu": cpu}))
            except Superseded:
                return

        await asyncio.gather(*(step(number, *each) for number, each in enumerate(steps)))
        assert await total(table) <= 4.0

    asyncio.run(scenario())


async def test_a_reservation_that_was_deleted_behind_our_back_is_not_held_any_more():
    table = await new_table()
    ledger, other = ledger_over(table), ledger_over(table)
    await ledger.reserve(NODE, wants(ref("a"), head(1), {"cpu": 1.0}))
    await table.delete(key_of(NODE.id, ref("a")))
    await other.reserve(NODE, wants(ref("b"), head(1), {"cpu": 2.0}))
    await ledger.reserve(NODE, wants(ref("c"), head(1), {"cpu": 1.0}))  # loses to the other, and reads again
    assert ledger.held(ref("a")) == {}
    assert ledger.held_by(ref("c")) == {TargetRef.of(NODE).key}


async def test_beyond_its_room_a_target_is_given_only_what_an_operator_lets_it_be_and_never_beyond_a_quota():
    table = await new_table()
    ledger = ledger_over(table)
    wanted = wants(ref("a"), head(), {"cpu": 6.0})
    assert not await ledger.reserve(NODE, wanted)
    bounded = msgspec.structs.replace(NODE, quotas={"root:team": {"cpu": 5.0}})
    beyond = msgspec.structs.replace(wanted, over_commit=True)
    assert not await ledger.reserve(bounded, beyond)
    assert not await ledger.reserve(msgspec.structs.replace(NODE, ready=False), beyond)
    assert await ledger.reserve(NODE, beyond)
    assert await total(table) == 6.0
    assert not await ledger.reserve(NODE, wants(ref("b"), head(), {"cpu": 0.5})), "others find it full"
