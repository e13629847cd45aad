"""Namespaces in a target: each is one workspace's. The Namespace object itself says whose.

The first workspace that places into a name makes the namespace, with its claim. One that was there before is nobody's
until the target's owner writes a claim on it. The claim stays when all that was placed is gone: what else is in the
namespace by then is not for others. What we made and nobody uses is removed after a while (unused.py).

Whose a namespace is, is not asked for every placement: what discovery saw last counts, or what was found here a moment
ago. An object that turns out to have no namespace is a reason to ask again.
"""

from collections.abc import Callable, Mapping

from services.binding.core import Object
from services.binding.trouble import Trouble, passing
from shared.aio.lru import Lru
from shared.hub.names import APPLIER, CLAIM_ANNOTATION
from shared.hub.terms import claim_of, is_free
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import NAMESPACES

_RACES = 5  # with others that make or claim the same namespace
_SEEN = 60.0  # seconds; as often discovery reads whose the namespaces of a target are
_MOST = 10_000  # namespaces that are remembered of a target


class Held:
    """The namespaces of one target that were found to be a workspace's, each for a minute."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: Lru[tuple[str, str], float] = Lru(_MOST)

    def note(self, namespace: str, workspace: str) -> None:
        """A namespace is the workspace's now."""
        self._until.put((namespace, workspace), self._clock() + _SEEN)

    def forget(self, namespace: str) -> None:
        """A namespace is gone."""
        for each in [each for each in self._until if each[0] == namespace]:
            self._until.pop(each)

    def has(self, namespace: str, workspace: str) -> bool:
        return self._clock() < (self._until.get((namespace, workspace)) or 0.0)


async def hold(client: Client, namespace: str, workspace: str, labels: Mapping[str, str]) -> bool:
    """Have a namespace that is the workspace's; make it, or claim it, where it may.

    Of those that are there discovery tells, so most likely it is not, and is made before anybody looks, with these
    `labels`; True where it was made just now. Raises Trouble where it is another's or nobody's, and what the client
    raises.
    """
    for _ in range(_RACES):
        refused: ApiError | None = None
        try:
            await make(client, namespace, {CLAIM_ANNOTATION: workspace}, labels)
        except ApiError as error:
            if error.forbidden:
                refused = error  # one that is there will do where we may not make any
            elif not error.already_exists:
                raise
        else:
            return True
        found = await _get(client, namespace)
        if found is None:
            if refused is not None:
                raise refused
            continue
        if _is_held(found, namespace, workspace):
            return False
        claim = {"annotations": {CLAIM_ANNOTATION: workspace}}
        seen = {"uid": found["metadata"]["uid"], "resourceVersion": found["metadata"]["resourceVersion"]}
        try:
            await client.merge_patch(NAMESPACES, namespace, {"metadata": {**seen, **claim}}, field_manager=APPLIER)
        except ApiError as error:
            if not (error.conflict or error.not_found):
                raise
        else:
            return False
    raise passing("Busy", f"namespace {namespace} of the target changes too fast to be claimed")


async def make(client: Client, name: str, annotations: Mapping[str, str], labels: Mapping[str, str]) -> None:
    """Make a namespace. It is no member of a set: what else runs in it must outlive us."""
    marks = {"annotations": annotations, "labels": labels}
    metadata = {"name": name, **{field: values for field, values in marks.items() if values}}
    await client.create(
        NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, field_manager=APPLIER
    )


async def ensure(client: Client, name: str) -> None:
    """Have a namespace that is nobody's to claim; one that somebody made for us will do where we may not make any."""
    try:
        await make(client, name, {}, {})
    except ApiError as error:
        if error.already_exists or (error.forbidden and await _get(client, name) is not None):
            return
        raise


def _is_held(found: Object, namespace: str, workspace: str) -> bool:
    """Whether a namespace is the workspace's; False where it may be claimed. Raises Trouble for all others."""
    claim = claim_of(found)
    if claim == workspace:
        return True
    if claim is not None:
        raise _refused(f"namespace {namespace} of the target belongs to another workspace")
    if not is_free(found):
        said = f"namespace {namespace} was in the target before, and its owner has given it to no workspace"
        raise _refused(f"{said} (annotation {CLAIM_ANNOTATION})")
    return False


def _refused(message: str) -> Trouble:
    return Trouble("ConflictFree", "NamespaceClaimed", message, lasting=True)


async def _get(client: Client, namespace: str) -> Object | None:
    try:
        return await client.get(NAMESPACES, namespace)
    except ApiError as error:
        if error.not_found:
            return None
        raise
