"""Work in a target under the lease of its PlacementBinding, and what is recorded of it."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from secrets import token_hex
from typing import NoReturn, TypeVar

from services.binding import lease, lifecycle
from services.binding.core import Identity
from services.binding.records import Records
from services.binding.settings import BindingSettings
from services.binding.target.applyset import ApplySet
from services.binding.target.disposal import Heirs
from services.binding.target.reach import Reach
from services.binding.trouble import Trouble, passing
from shared.aio.lru import Lru
from shared.api import BoundObject, ObjectDifference, PlacementBinding
from shared.broker.bus import Retry
from shared.hub.retry import SOON
from shared.kube.errors import ApiError, KubeError
from shared.model.refs import PlacementRef
from shared.pipeline.messages import Assigned, Bound

T = TypeVar("T")

_LEASED = 0.5  # seconds; a binding is in others' hands for a few tenths of a second
_GIVEN_UP = 1_000  # leases that are remembered
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
        self._given_up: Lru[str, None] = Lru(_GIVEN_UP)

    def respect(self, message: Assigned, binding: PlacementBinding, held: str = "") -> None:
        """Raise Retry while somebody acts on a binding, under another lease than the one that is `held`."""
        name = lease.name_of(binding)
        if name and (name == held or name in self._given_up):
            return
        wait = lease.remaining(binding, self._clock(), self._settings.lease)
        if wait > 0:
            self._records.forget(message.placement, message.target)
            raise Retry(min(wait, _LEASED), f"another worker acts on {binding.metadata.name}")

    def take(self, binding: PlacementBinding) -> PlacementBinding:
        """The binding under a new lease, which is held once that is written."""
        return lease.taken(binding, token_hex(8), self._clock())

    @contextmanager
    def giving_up(self, binding: PlacementBinding) -> Iterator[None]:
        """Around what is done under a lease, from the write that takes it. After an error nobody acts under it any
        more, so that this process need not wait for it, also where no answer told if it was written.
        """
        try:
            yield
        except BaseException:
            self._given_up.put(lease.name_of(binding), None)
            raise

    async def open(self, message: Assigned) -> ApplySet:
        """What the placement has in the target. Raises as `Reach.open`: best before a lease is taken."""
        return await self._reach.open(message.target, message.placement, message.head.uid)

    async def work(
        self,
        message: Assigned,
        binding: PlacementBinding,
        applyset: ApplySet,
        work: Callable[[ApplySet, Heirs], Awaitable[T]],
    ) -> T:
        """Work in the target under the binding's lease. Raises Retry where there is trouble, which is recorded."""
        try:
            return await self._reach.work(message.target, work(applyset, lambda: self._heirs(message)))
        except Trouble as problem:
            await self.fail(message, binding, problem)

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
            if lease.name_of(found) != lease.name_of(leased):
                break
            binding = found
        raise Retry(SOON, "the binding was changed by others meanwhile")

    async def fail(
        self,
        message: Assigned,
        binding: PlacementBinding,
        problem: Trouble,
        objects: Sequence[BoundObject] | None = None,
        differences: Sequence[ObjectDifference] = (),
    ) -> NoReturn:
        """Record trouble, tell of it, and come again: raises Retry, always. `objects`: what is there all the same."""
        binding = await self.conclude(
            message, binding, lambda now: lifecycle.failed(now, problem, self._clock(), objects, differences)
        )
        await self._publish(lifecycle.bound(message, binding))
        raise Retry(self._reach.delay(message.target, problem, binding.status.retries), problem.message)

    async def _heirs(self, message: Assigned) -> Mapping[Identity, PlacementRef]:
        try:
            return await self._records.heirs(message.placement, message.target)
        except KubeError as error:
            raise passing("HubUnavailable", f"hub: {error}") from error
