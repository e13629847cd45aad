"""What placements left in a target when their workspace went with every record of them."""

from collections.abc import Mapping

from services.binding.core import Identity
from services.binding.records import Records
from services.binding.removal import out_of_reach
from services.binding.target.reach import Reach
from services.binding.trouble import Trouble
from shared.broker.bus import Retry
from shared.model.refs import PlacementRef
from shared.pipeline.messages import Assigned, Bound


class Cleanup:
    """Takes it away. There is no PlacementBinding to act under: every step may be repeated, by several at once."""

    def __init__(self, records: Records, reach: Reach) -> None:
        self._records = records
        self._reach = reach

    async def remove(self, message: Assigned) -> Bound | None:
        """Take out of one target what a placement has there; None, and nothing done, where its workspace is there.

        Raises Retry, and what the hub answers: without an answer nothing is removed.
        """
        ref, target = message.placement, message.target
        if not await self._records.workspace_is_gone(ref.workspace):
            return None
        if not await out_of_reach(target, self._reach, self._records):
            try:
                applyset = await self._reach.open(target, ref, message.head.uid)
                await self._reach.work(target, applyset.clear(_nobody, orphan=message.orphan))
            except Trouble as problem:
                raise Retry(self._reach.delay(target, problem, 0), problem.message) from problem
        return Bound(placement=ref, head=message.head, target=target, phase="Removed", vanished=True, held=message.held)


async def _nobody() -> Mapping[Identity, PlacementRef]:
    """Who takes over what several placements of the namespace referred to: they all went."""
    return {}
