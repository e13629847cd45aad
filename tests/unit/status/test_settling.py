"""What was just applied is waited for, until it settled or the time is over, and not by too many at once."""

import asyncio
import contextlib

from services.status.settling import Settling
from shared.model.refs import PlacementRef

WEB, API = (PlacementRef(workspace="root:team", namespace="shop", name=name) for name in ("web", "api"))
EAST, WEST = "root:platform/east", "root:platform/west"
LONG = 3600.0  # seconds


class Applied:
    """Something that may settle, and who waits for it."""

    def __init__(self, settling: Settling, ref: PlacementRef = WEB, target: str = EAST) -> None:
        self.passes = True
        self.looks = 0
        self.waiting = asyncio.create_task(settling.wait(ref, target, self._look))

    def _look(self) -> bool:
        self.looks += 1
        return self.passes


async def turns() -> None:
    """Let everybody go on who can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_waits_goes_on_as_soon_as_it_settled() -> None:
    settling = Settling(LONG, most=2)
    applied = Applied(settling)
    await turns()
    settling.note(WEB, EAST)
    await turns()
    assert not applied.waiting.done()  # it is only on its way
    applied.passes = False
    settling.note(WEB, EAST)
    assert await applied.waiting is False


async def test_news_of_others_wakes_nobody() -> None:
    settling = Settling(LONG, most=2)
    applied = Applied(settling)
    await turns()
    looks = applied.looks
    settling.note(API, EAST)
    settling.note(WEB, WEST)
    await turns()
    assert applied.looks == looks
    applied.waiting.cancel()


async def test_the_wait_ends_when_the_time_is_over() -> None:
    assert await Applied(Settling(0.01, most=1)).waiting is True


async def test_what_settled_already_is_not_waited_for() -> None:
    assert await Settling(LONG, most=1).wait(WEB, EAST, lambda: False) is False


async def test_who_finds_too_many_does_not_wait_and_there_is_room_again_after_each() -> None:
    settling = Settling(LONG, most=1)
    first = Applied(settling)
    await turns()
    assert await Applied(settling, API).waiting is False
    first.waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await first.waiting
    second = Applied(settling, API)
    await turns()
    assert not second.waiting.done()
    second.waiting.cancel()


async def test_of_two_about_the_same_only_the_first_waits() -> None:
    settling = Settling(LONG, most=2)
    first = Applied(settling)
    await turns()
    assert await Applied(settling).waiting is False
    first.passes = False
    settling.note(WEB, EAST)
    assert await first.waiting is False
