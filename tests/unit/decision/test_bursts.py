"""Bursts over several copies: never more than there is, nobody starves, everybody who fits is placed."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.model.decision import Proposal, Refusal
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.model.request import HeadEntry
from shared.model.target import Target
from shared.pipeline.messages import Decided, Message, Scheduled
from tests.unit.decision.schedules import World, opened, scheduled

COPIES = 3
TARGETS = tuple(
    Target(workspace="root:p", name=name, ready=True, allocatable={"cpu": room})
    for name, room in (("a", 4.0), ("b", 4.0), ("c", 2.0))
)
ROOM = {each.id: each.allocatable["cpu"] for each in TARGETS}
ROUNDS = 20
Size = tuple[float, int]
"""How much of each target, and of how many."""


class Burst(World):
    """Placements that ask again where others were faster, as controller and scheduler do for them."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.sizes: dict[PlacementRef, Size] = {}
        self.again: list[PlacementRef] = []

    def heard(self, emitted: Iterable[Message]) -> None:
        super().heard(emitted)
        self.again += [each.placement for each in emitted if isinstance(each, Decided) and each.contended]

    async def want(self, ref: PlacementRef, size: Size) -> None:
        """Have a placement proposed to the targets that have room for it, as far as anybody can see.

        Where too few have, it is refused, which has what deliveries of one attempt left of each other taken away.
        """
        self.sizes[ref] = cpu, parts = size
        targets = await self.fitting(ref)
        if len(targets) < parts and not any(
            each == ref and amount for (each, _), amount in (await self.reserved()).items()
        ):
            return
        self.attempts[ref] += 1
        head = Head(uid=ref.name, generation=1, attempt=self.attempts[ref])
        await self.heads.put(ref.key, HeadEntry(head=head, digest=""))
        if len(targets) < parts:
            self.pending.append(refusal(ref, head))
            return
        first = self.attempts[ref] % len(targets)
        order = targets[first:] + targets[:first]
        self.pending.append(scheduled(ref, head, cpu, order[:parts], order[1:] if parts == 1 else ()))

    async def fitting(self, ref: PlacementRef) -> list[str]:
        """The targets that have room for a part of a placement."""
        cpu, _ = self.sizes[ref]
        taken = await self.taken(besides=ref)
        return [target for target, room in ROOM.items() if taken[target] + cpu <= room]

    async def taken(self, besides: PlacementRef | None = None) -> Counter[str]:
        """What is reserved in each target."""
        found: Counter[str] = Counter()
        for (ref, target), cpu in (await self.reserved()).items():
            found[target] += cpu if ref != besides else 0.0  # type: ignore[assignment]
        return found

    async def check(self) -> None:
        for target, cpu in (await self.taken()).items():
            assert cpu <= ROOM[target]

    def placed(self) -> set[tuple[PlacementRef, str]]:
        """Which placements are decided to be where."""
        return {
            (ref, TargetRef.of(each.target).id)
            for ref, (_, status) in self.hub.decided.items()
            for each in status.selected
        }


def refusal(ref: PlacementRef, head: Head) -> Scheduled:
    """What the scheduler says where no target fits."""
    proposal = Proposal(strategy="BestFit", refusal=Refusal(code="NoFeasibleTarget", message="all are full"))
    message = scheduled(ref, head, 0.0, (), ())
    return msgspec.structs.replace(message, proposal=proposal)


placements = st.lists(st.tuples(st.sampled_from([1.0, 2.0, 3.0]), st.integers(1, 2)), min_size=3, max_size=8)
steps = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 53), st.integers(1, 8)), max_size=80)


@settings(max_examples=60, deadline=None)
@example(  # one of a placement's two reservations is left by another copy than the one that refuses it from then on
    [(1.0, 1), (1.0, 1), (3.0, 2), (2.0, 1), (1.0, 1)],
    [
        (0, 25, 1),
        (7, 0, 3),
        (0, 9, 1),
        (0, 0, 1),
        (0, 37, 1),
        (5, 2, 1),
        *[(0, 0, 1)] * 8,
        (0, 37, 1),
        (7, 1, 7),
        (7, 2, 1),
    ],
)
@given(placements, steps)
def test_whoever_fits_is_placed_and_nobody_beyond_whatever_the_order_and_whoever_dies(
    sizes: list[Size], script: list[tuple[int, int, int]]
) -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            burst = await opened(stack, COPIES, Burst, TARGETS)
            for number, size in enumerate(sizes):
                await burst.want(PlacementRef(workspace="root:team", namespace="apps", name=f"app-{number}"), size)
            for what, number, several in script:
                if what <= 4:
                    await burst.deliver(number // COPIES, number % COPIES)
                elif what == 5:
                    await burst.crash(number)
                elif what == 6:
                    await burst.tell(number, several)
                else:
                    await burst.step(number, several)
                await burst.check()
            for _ in range(ROUNDS):
                await burst.finish()
                for copy in range(COPIES):  # in the end all hear of it, also of what deliveries left by another copy
                    await burst.tell(copy, 1000)
                await burst.check()
                again, burst.again = burst.again, []
                placed = {ref for ref, _ in burst.placed()}
                for ref in [ref for ref in burst.sizes if ref in again or ref not in placed]:
                    await burst.want(ref, burst.sizes[ref])
                if not burst.pending:
                    break
            assert not burst.pending, "somebody asks again and again"
            held = {place for place, cpu in (await burst.reserved()).items() if cpu}
            assert held == burst.placed(), "what is held is what is decided"
            placed = {ref for ref, _ in held}
            for ref, (_, parts) in burst.sizes.items():
                assert ref in placed or len(await burst.fitting(ref)) < parts

    asyncio.run(scenario())
