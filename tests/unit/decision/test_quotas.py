"""Quotas hold where reservations are written, whoever races for them."""

import asyncio

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.decision.book import Superseded
from shared.model.quota import lies_in
from shared.model.refs import PlacementRef, TargetRef
from shared.model.resources import Resources
from shared.model.target import Target
from tests.support.values import head
from tests.unit.decision.ledgers import ledger_over, new_table, wants

QUOTAS: dict[str, Resources] = {"root:a": {"cpu": 5.0, "pods": 3.0}, "root:a:x": {"cpu": 2.0}, "root:b!": {"cpu": 1.0}}
NODE = Target(
    workspace="root:platform",
    name="one",
    ready=True,
    allocatable={"cpu": 8.0, "memory": 64.0, "pods": 100.0},
    quotas=QUOTAS,
)


def ref(workspace: str, name: str = "web") -> PlacementRef:
    return PlacementRef(workspace=workspace, namespace="apps", name=name)


@pytest.mark.parametrize(
    ("workspace", "needed", "taken"),
    [
        ("root:a", {"cpu": 5.0}, True),
        ("root:a", {"cpu": 5.1}, False),
        ("root:a", {"cpu": 1.0, "pods": 4.0}, False),
        ("root:a", {"memory": 64.0}, True),
        ("root:a:x", {"cpu": 2.0}, True),
        ("root:a:x", {"cpu": 2.1}, False),
        ("root:a:x:deep", {"cpu": 2.1}, False),
        ("root:a:y", {"cpu": 5.0}, True),
        ("root:b", {"cpu": 1.1}, False),
        ("root:b:x", {"cpu": 8.0}, True),
        ("root:ab", {"cpu": 8.0}, True),
        ("", {"cpu": 8.0}, True),
    ],
)
async def test_a_placement_gets_what_every_quota_over_it_leaves(workspace, needed, taken) -> None:
    assert bool(await ledger_over(await new_table()).reserve(NODE, wants(ref(workspace), head(), needed))) is taken


async def test_placements_below_a_workspace_share_its_quota_and_others_do_not_use_it_up() -> None:
    table = await new_table()
    ledger = ledger_over(table)
    assert await ledger.reserve(NODE, wants(ref("root:c"), head(), {"cpu": 2.0}))
    assert await ledger.reserve(NODE, wants(ref("root:a:x"), head(), {"cpu": 2.0}))
    assert await ledger.reserve(NODE, wants(ref("root:a"), head(), {"cpu": 3.0}))
    assert not await ledger_over(table).reserve(NODE, wants(ref("root:a:y"), head(), {"cpu": 0.5}))
    await ledger.release(TargetRef.of(NODE).key, ref("root:a:x"), head())
    assert await ledger_over(table).reserve(NODE, wants(ref("root:a:y"), head(), {"cpu": 2.0}))


async def test_a_quota_promises_nothing_that_the_target_does_not_have() -> None:
    small = msgspec.structs.replace(NODE, allocatable={"cpu": 4.0})
    assert not await ledger_over(await new_table()).reserve(small, wants(ref("root:a"), head(), {"cpu": 4.5}))


@pytest.mark.parametrize(
    ("change", "needed", "taken"),
    [
        ({"quotas": {"root:a": {"cpu": 2.0}}}, {"cpu": 4.0}, True),
        ({"quotas": {"root:a": {"cpu": 2.0}}}, {"cpu": 3.0}, True),
        ({"quotas": {"root:a": {"cpu": 2.0}}}, {"cpu": 4.1}, False),
        ({"quotas": {"root:a": {"cpu": 2.0, "memory": 5.0}}}, {"cpu": 4.0, "memory": 5.0}, True),
        ({"quotas": {"root:a": {"cpu": 2.0, "memory": 5.0}}}, {"cpu": 4.0, "memory": 5.1}, False),
        ({"allocatable": {"cpu": 3.0}}, {"cpu": 4.0}, True),
        ({"allocatable": {"cpu": 3.0}}, {"cpu": 4.1}, False),
    ],
)
async def test_what_is_held_may_be_kept_when_a_quota_or_the_target_shrinks_and_may_not_grow(
    change, needed, taken
) -> None:
    ledger = ledger_over(await new_table())
    assert await ledger.reserve(NODE, wants(ref("root:a"), head(1), {"cpu": 4.0}))
    kept = await ledger.reserve(msgspec.structs.replace(NODE, **change), wants(ref("root:a"), head(2), needed))
    assert bool(kept) is taken


async def test_of_two_that_race_for_the_last_of_a_quota_one_gets_it() -> None:
    table = await new_table()
    racers = [ref("root:a:x", "one"), ref("root:a:x", "two")]
    won = await asyncio.gather(
        *(ledger_over(table).reserve(NODE, wants(each, head(), {"cpu": 1.5})) for each in racers)
    )
    assert sorted(map(bool, won)) == [False, True]


WORKSPACES = ("root:a", "root:a:x", "root:b", "root:b:x", "root")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(WORKSPACES),
            st.integers(0, 2),
            st.sampled_from([0.1, 0.3, 1.0, 1.5]),
            st.booleans(),
            st.integers(0, 3),
        ),
        min_size=1,
        max_size=40,
    )
)
def test_no_interleaving_of_ledgers_that_lag_behind_exceeds_a_quota(steps) -> None:
    async def scenario() -> None:
        table = await new_table()
        ledgers = [ledger_over(table) for _ in range(4)]

        async def step(number: int, workspace: str, name: int, cpu: float, release: bool, who: int) -> None:
            placement, at = ref(workspace, str(name)), head(number + 1)
            if release:
                await ledgers[who].release(TargetRef.of(NODE).key, placement, at)
                return
            try:
                await ledgers[who].reserve(NODE, wants(placement, at, {"cpu": cpu, "pods": 1.0}))
            except Superseded:
                return

        await asyncio.gather(*(step(number, *each) for number, each in enumerate(steps)))
        held = [entry.value for entry in await table.entries(TargetRef.of(NODE).key)]
        for path, hard in QUOTAS.items():
            covered = [each.resources for each in held if lies_in(each.placement.workspace, path)]
            for resource, most in hard.items():
                assert sum(each.get(resource, 0.0) for each in covered) <= most + 1e-6

    asyncio.run(scenario())
