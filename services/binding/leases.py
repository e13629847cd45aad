"""Work in a target under the lease of its PlacementBinding, and what is recorded of it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, NoReturn, TypeVar

from services.binding import lifecycle
from services.binding.core import Identity
from services.binding.records import Records
from services.binding.settings import BindingSettings
from services.binding.target.applyset import ApplySet, Heirs
from services.binding.target.reach import Reach
from services.binding.trouble import Trouble, passing
from shared.api import PlacementBinding
from shared.broker.bus import Retry
from shared.hub.retry import SOON
from shared.kube.errors import ApiError, KubeError
from shared.model.refs import PlacementRef
from shared.pipeline.messages import Assigned, Bound

T = TypeVar("T")

_LEASED = 0.5  # seconds; a binding is in others' hands for a few tenths of a second
_WRITES = 5  # attempts, when others write at the same time


class Leases:
    """`publish` tells of a failure, since a handler that raises Retry returns no message."""

    def __init__(
        self,
        settings: BindingSettings,
        *,
        records: Records,
        reach: Reach,
        publish: Callable[[Bound], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._records = records
        self._reach = reach
        self._publish = publish
        self._clock = clock

    def respect(self, message: Assigned, binding: PlacementBinding) -> None:
        """Raise Retry while another worker acts on a binding."""
        wait = lifecycle.leased(binding, self._clock(), self._settings.lease)
        if wait > 0:
            self._records.forget(message.placement, message.target)
            raise Retry(min(wait, _LEASED), f"another worker acts on {binding.metadata.name}")

    async def work(
        self,
        message: Assigned,
        binding: PlacementBinding,
        phase: Literal["Applying", "Removing"],
        work: Callable[[ApplySet, Heirs], Awaitable[T]],
    ) -> tuple[PlacementBinding, T]:
        """Work in the target under a new lease; the leased binding, and what the work gave.

        Raises Retry where there is trouble, which is then on record, and where others wrote at the same time.
        """
        try:
            applyset = await self._reach.open(message.target, message.placement, message.head.uid)
            binding = await self._records.write_status(
                message.placement, lifecycle.begun(binding, phase, self._clock())
            )
            result = await self._reach.work(message.target, work(applyset, lambda: self._heirs(message)))
        except Trouble as problem:
            await self.fail(message, binding, problem)
        return binding, result

    async def conclude(
        self, message: Assigned, leased: PlacementBinding, change: Callable[[PlacementBinding], PlacementBinding]
    ) -> PlacementBinding:
        """Write what came of it. Others may have written meanwhile (a deletion, an edit), but hold no lease."""
        binding = leased
        for _ in range(_WRITES):
            try:
                return await self._records.write_status(message.placement, change(binding))
            except ApiError as error:
                if not (error.conflict or error.not_found):
                    raise
            found = await self._records.binding(message.placement, message.target)
            if found is None or found.metadata.uid != leased.metadata.uid:
                break
            binding = found
        raise Retry(SOON, "the binding was changed by others meanwhile")

    async def fail(self, message: Assigned, binding: PlacementBinding, problem: Trouble) -> NoReturn:
        """Record trouble, tell of it, and come again: raises Retry, always."""
        binding = await self.conclude(message, binding, lambda now: lifecycle.failed(now, problem, self._clock()))
        await self._publish(lifecycle.bound(message, binding))
        raise Retry(self._reach.delay(message.target, problem, binding.status.retries), problem.message)

    async def _heirs(self, message: Assigned) -> Mapping[Identity, PlacementRef]:
        try:
            return await self._records.heirs(message.placement, message.target)
        except KubeError as error:
            raise passing("HubUnavailable", f"hub: {error}") from error
