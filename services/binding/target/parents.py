"""The parent of one Placement's ApplySet in a target: read, made and written."""

from collections.abc import Collection, Iterable

from services.binding.core import Object
from services.binding.target import claims
from services.binding.target.absence import unless_absent
from services.binding.target.parent import GroupKind, belongs, parent_of
from services.binding.trouble import Trouble, passing
from shared.hub.names import APPLIER, SYSTEM_NAMESPACE, applyset_name
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import CONFIGMAPS
from shared.model.refs import PlacementRef

_RACES = 3  # with others that make, delete or hold it up


class Parents:
    """Methods raise Trouble where it is another Placement's, and what the client raises."""

    def __init__(self, client: Client, ref: PlacementRef, uid: str) -> None:
        self._client = client
        self._ref = ref
        self._uid = uid

    async def find(self) -> Object | None:
        """The parent as it is."""
        name = applyset_name(self._ref)
        found = await unless_absent(self._client.get(CONFIGMAPS, name, SYSTEM_NAMESPACE))
        if found is not None and not belongs(found, self._ref):
            said = f"ConfigMap {SYSTEM_NAMESPACE}/{name} in the target belongs to another Placement"
            raise Trouble("ConflictFree", "OwnedByOther", said, lasting=True)
        return found

    async def have(self, kinds: Iterable[GroupKind], namespaces: Collection[str], *, first: bool) -> Object | None:
        """The parent as it is; None where it was made just now, for these kinds and namespaces.

        `first`: most likely there is none, so that it is made before anybody looks.
        """
        parent = parent_of(self._ref, self._uid, kinds, namespaces)
        absent = first
        for _ in range(_RACES):
            if not absent and (found := await self.find()) is not None:
                return found
            try:
                await self._client.create(CONFIGMAPS, parent, field_manager=APPLIER)
            except ApiError as error:
                if not (error.not_found or error.already_exists):
                    raise
                absent = error.not_found  # nor can it be in a namespace that was not there
                if absent:
                    await claims.ensure(self._client, SYSTEM_NAMESPACE)
            else:
                return None
        raise passing("Busy", f"ConfigMap {SYSTEM_NAMESPACE}/{applyset_name(self._ref)} of the target changes too fast")

    async def write(self, kinds: Iterable[GroupKind], namespaces: Collection[str]) -> None:
        """Have it say these kinds and namespaces."""
        parent = parent_of(self._ref, self._uid, kinds, namespaces)
        await self._client.apply(CONFIGMAPS, parent, field_manager=APPLIER, force=True)

    async def end(self) -> None:
        """There is no set any more."""
        await unless_absent(self._client.delete(CONFIGMAPS, applyset_name(self._ref), SYSTEM_NAMESPACE))
