"""Whatever order copies of decision take their steps in, and wherever they die, nothing is given away twice."""

import asyncio
from contextlib import AsyncExitStack

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.decision.schedules import opened

COPIES = 3


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 53), st.integers(1, 12)), min_size=20, max_size=120))
def test_no_order_of_steps_and_no_crash_gives_anything_twice(script: list[tuple[int, int, int]]) -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            world = await opened(stack, COPIES)
            for number in range(3):
                await world.ask(number, 2.0, number)
            for what, number, steps in script:
                if what <= 1:
                    await world.ask(number, (1.0, 2.0, 3.0)[number // 3 % 3], number // 9)
                elif what <= 6:
                    await world.deliver(number // COPIES, number % COPIES, fails=steps % 4 == 3)
                elif what == 7:
                    await world.crash(number)
                elif what == 8:
                    await world.look_for_leftovers(number)
                elif what <= 10:
                    await world.tell(number, steps)
                else:
                    await world.step(number, steps)
                await world.check()
            await world.rest()
            await world.check()
            world.check_events()

    asyncio.run(scenario())
