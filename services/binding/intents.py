"""What is on record before it is applied: what its cluster may delete again before anybody says that it was there.

A Job with a time to live that was applied, and not recorded, is gone some time after its end; whoever finds none would
run it again. So the PlacementBinding has it, without a uid, before it is applied for the first time: one more write,
for such objects alone. It has it no more where the target said for certain that it did not take it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from services.binding import lifecycle
from services.binding.core import Member, identity
from services.binding.leases import Leases
from services.binding.target.outcome import begun
from services.binding.trouble import Trouble, passing
from shared.api import PlacementBinding
from shared.kube.errors import ApiError, KubeError
from shared.pipeline.messages import Assigned


class Intents:
    """What is begun under the lease of a PlacementBinding; `binding` is as it was written last."""

    def __init__(self, leases: Leases, message: Assigned, binding: PlacementBinding) -> None:
        self.binding = binding
        self._leases = leases
        self._message = message
        self._writing = asyncio.Lock()

    @asynccontextmanager
    async def around(self, member: Member) -> AsyncIterator[None]:
        """Around the request that applies a member that was not there. Raises Trouble, and Retry where the lease is
        another's by now.
        """
        if not member.expires:
            yield
            return
        record = begun(member)
        await self._write(lambda binding: lifecycle.recording(binding, record))
        try:
            yield
        except (Trouble, ApiError) as error:
            if isinstance(error, Trouble) or error.status < 500:
                await self._write(lambda binding: lifecycle.without(binding, identity(record.ref)))
            raise

    async def _write(self, change: Callable[[PlacementBinding], PlacementBinding]) -> None:
        async with self._writing:
            try:
                self.binding = await self._leases.conclude(self._message, self.binding, change)
            except KubeError as error:
                raise passing("HubUnavailable", f"hub: {error}") from error
