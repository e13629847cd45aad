"""Who takes the next step: a store of which each call waits until a test lets it."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from shared.broker.memory.store import MemoryStore
from shared.broker.store import Bucket, Raw, RawBucket, Store

_TURNS = 8  # of the loop, in which every task comes to its next step


class Steps:
    """Who waits to be let: tasks, and who hears news."""

    def __init__(self) -> None:
        self.waiting: dict[object, asyncio.Future[None]] = {}

    async def turn(self, who: object = None) -> None:
        step = self.waiting[who or asyncio.current_task()] = asyncio.get_running_loop().create_future()
        await step

    async def let(self, who: object, steps: int) -> None:
        """Let somebody take so many steps, or all that are left."""
        for _ in range(steps):
            await self.settle()
            step = self.waiting.pop(who, None)
            if step is None or step.done():
                return
            step.set_result(None)
        await self.settle()

    async def settle(self) -> None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)


class StepStore(Store):
    """A store that others share, seen step by step."""

    def __init__(self, store: MemoryStore, steps: Steps) -> None:
        self._store = store
        self._steps = steps

    async def provision(self, buckets: tuple[Bucket[Any], ...]) -> None:
        await self._store.provision(buckets)

    def raw(self, bucket: Bucket[Any]) -> RawBucket:
        return StepBucket(self._store.raw(bucket), self._steps)


class StepBucket(RawBucket):
    """A bucket whose answers come when they are let."""

    def __init__(self, bucket: RawBucket, steps: Steps) -> None:
        self._bucket = bucket
        self._steps = steps

    async def get(self, key: str) -> Raw | None:
        await self._steps.turn()
        return await self._bucket.get(key)

    async def put(self, key: str, value: bytes) -> int:
        await self._steps.turn()
        return await self._bucket.put(key, value)

    async def update(self, key: str, value: bytes, revision: int, *, within: str | None = None) -> int:
        await self._steps.turn()
        done = await self._bucket.update(key, value, revision, within=within)
        await self._steps.turn()
        return done

    async def delete(self, key: str, revision: int | None = None) -> int:
        await self._steps.turn()
        return await self._bucket.delete(key, revision)

    async def entries(self, prefix: str = "") -> list[Raw]:
        found = await self._bucket.entries(prefix)
        await self._steps.turn()
        return found

    async def since(self, revision: int, prefix: str = "") -> list[Raw]:
        found = await self._bucket.since(revision, prefix)
        await self._steps.turn()
        return found

    async def newest(self) -> int:
        found = await self._bucket.newest()
        await self._steps.turn()
        return found

    async def size(self) -> int | None:
        return await self._bucket.size()

    async def watch(self) -> AsyncGenerator[Raw | None, None]:
        async for raw in self._bucket.watch():
            if raw is not None:
                await self._steps.turn(self)
            yield raw
