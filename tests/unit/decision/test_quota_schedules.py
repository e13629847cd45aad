"""Whatever order copies of decision take their steps in, and wherever they die, a quota over all targets is kept."""

import asyncio
from contextlib import AsyncExitStack

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.broker.table import Table
from shared.hub.quotas import NOBODY
from shared.model.quota import WorkspaceQuota
from shared.pipeline.buckets import CHARGES
from tests.unit.decision.schedules import World, opened

COPIES = 3
EXAMPLES = settings.default.max_examples
QUOTA = WorkspaceQuota(
    workspace="root", name="team", uid="q", bounds="root:team", hard={"cpu": 5.0, "placements": 3.0, "pods": 0.0}
)


async def take_steps(world: World, script: list[tuple[int, int, int]]) -> None:
    """Follow a script of what happens; the quota is looked at after each step."""
    for what, number, steps in script:
        if what <= 2:
            await world.ask(number, (1.0, 2.0, 3.0)[number // 3 % 3], number // 9)
        elif what <= 7:
            await world.deliver(number // COPIES, number % COPIES, fails=steps % 4 == 3)
        elif what == 8:
            await world.crash(number)
        elif what == 9:
            await world.look_for_leftovers(number)
        elif what == 10:
            await world.give_back(number)
        elif what == 11:
            await world.put_right(number)
        elif what == 12:
            await world.tell(number, steps)
        else:
            await world.step(number, steps)
        await world.check()


@settings(max_examples=EXAMPLES if EXAMPLES > 100 else 30, deadline=None)  # those are long
@given(st.lists(st.tuples(st.integers(0, 17), st.integers(0, 53), st.integers(1, 12)), min_size=20, max_size=120))
def test_no_order_of_steps_and_no_crash_has_a_quota_exceeded(script: list[tuple[int, int, int]]) -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            world = await opened(stack, COPIES, quota=QUOTA)
            for number in range(3):
                await world.ask(number, 2.0, number)
            await take_steps(world, script)
            await world.rest()
            await world.check()
            for copy in range(COPIES):  # each knows that less of its own is held
                await world.give_back(copy)
                await world.step(0, 200)
            await world.steps.let(asyncio.create_task(world.deciders[0].charges.catch_up()), 200)  # nobody tells it
            await world.put_right(0)
            await world.step(0, 400)
            await world.check()
            await settled(world)

    asyncio.run(scenario())


GIVEN_BACK_TWICE: list[tuple[int, int, int]] = [
    (0, 21, 0),  # x is to have 2 in a and in b
    *((3, 0, 0), (13, 0, 100)),
    *((3, 0, 0), (3, 0, 0)),  # and has it
    *((3, 0, 0), (13, 0, 100)),
    *((3, 0, 0), (13, 0, 100)),
    (0, 0, 0),  # and then 1 in a
    *((3, 0, 0), (13, 0, 100)),
    *((3, 0, 0), (3, 0, 0)),  # which it has
    *((3, 3, 0), (13, 0, 100)),  # the first copy gives b back
    (12, 1, 1000),  # so the second one hears
    (10, 0, 0),
    (13, 0, 1),  # the first one charges less for what was given back up to there
    *((3, 0, 0), (13, 1, 100)),  # and meanwhile gives 1 of a back
    (13, 0, 100),
    (0, 3, 0),  # x is to have 2 in a again
    *((3, 1, 0), (13, 0, 100)),  # by the second copy, which has not heard of that
]


def test_what_is_given_back_while_less_is_being_charged_is_charged_again_by_a_copy_that_has_not_heard() -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            world = await opened(stack, COPIES, quota=QUOTA)
            await take_steps(world, GIVEN_BACK_TWICE)
            assert [cpu for cpu in (await world.reserved()).values() if cpu] == [2.0]

    asyncio.run(scenario())


async def settled(world: World) -> None:
    """In the end there is charged what is held, no more and no less."""
    held: dict[str, float] = {}
    for (ref, _), cpu in (await world.reserved()).items():
        held[ref.name] = held.get(ref.name, 0.0) + cpu
    entries = await Table(world.store, CHARGES).entries(QUOTA.place)
    charged = {
        each.value.placement.name: each.value.resources.get("cpu", 0.0)
        for each in entries
        if each.value.placement != NOBODY and each.value.resources.get("cpu")
    }
    assert charged == {name: cpu for name, cpu in held.items() if cpu}
