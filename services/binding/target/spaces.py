"""Removes a namespace of a target that we made, and that nobody uses any more.

Deleting a namespace takes along whatever is in it. So everything in it is looked for first, of all kinds that are
served; where one of them cannot be listed, nobody knows, and the namespace stays. What comes into it between that look
and the deletion, which is a matter of milliseconds, goes with it: of what we placed ourselves that shows as drift, and
it is put back.
"""

from services.binding.target.absence import unless_absent
from shared.aio.together import together
from shared.hub.names import SYSTEM_NAMESPACE
from shared.hub.references import is_in_every_namespace
from shared.hub.terms import is_made_by_us
from shared.kube.apis import ServedKind, discover
from shared.kube.applyset import APPLYSET_ID, APPLYSET_NAMESPACES
from shared.kube.client import Bounds, Client
from shared.kube.resources import CONFIGMAPS, NAMESPACES, Resource

_IN_FLIGHT = 8  # lists at once
_FEW = 20  # objects of a kind in a namespace: every cluster makes fewer
_SETS = Bounds(objects=100_000, bytes=256 << 20)
_SAID = frozenset({("", "events"), ("events.k8s.io", "events")})  # what was said of objects is none
_SHOWN = frozenset({"metrics.k8s.io"})  # groups whose objects show others


async def remove_unused(client: Client, name: str) -> str:
    """Delete a namespace, unless somebody uses it: a sentence on who, or what it is that nobody can say; empty where it
    is deleted, or gone. Raises what the client raises.
    """
    found = await unless_absent(client.get(NAMESPACES, name))
    if found is None:
        return ""
    if not is_made_by_us(found):
        return "somebody else has made it, or written on it"
    served = await discover(client)
    if served.broken:
        return f"nobody can say what there is of {', '.join(sorted(served.broken))}"
    kinds = [kind for kind in served.kinds if _may_be_used_by(kind)]
    for start in range(0, len(kinds), _IN_FLIGHT):
        for used in await together(*(_used(client, kind, name) for kind in kinds[start : start + _IN_FLIGHT])):
            if used:
                return used
    if await _is_placed_into(client, name):
        return "something is placed in it"
    metadata = found["metadata"]
    seen = {"uid": metadata["uid"], "resource_version": metadata["resourceVersion"]}
    await unless_absent(client.delete(NAMESPACES, name, **seen))
    return ""


def _may_be_used_by(kind: ServedKind) -> bool:
    said = (kind.group, kind.resource) in _SAID or kind.group in _SHOWN
    return kind.namespaced and "list" in kind.verbs and not said


async def _used(client: Client, kind: ServedKind, namespace: str) -> str:
    resource = Resource(kind.group, kind.versions[0], kind.resource, kind=kind.kind)
    pages = client.pages(resource, namespace, limit=_FEW, metadata=True)
    try:
        page = await anext(pages)
    finally:
        await pages.aclose()
    for each in page.items:
        name = str(each["metadata"].get("name", ""))
        if not is_in_every_namespace(resource.api_version, kind.kind, name):
            return f"{kind.kind} {name} is in it"
    return f"there are many objects of kind {kind.kind} in it" if page.continues else ""


async def _is_placed_into(client: Client, namespace: str) -> bool:
    """Whether any ApplySet names it: its parent is written before what is placed."""
    pages = client.pages(CONFIGMAPS, SYSTEM_NAMESPACE, label_selector=APPLYSET_ID, bounds=_SETS, metadata=True)
    async for page in pages:
        for each in page.items:
            named = (each["metadata"].get("annotations") or {}).get(APPLYSET_NAMESPACES, "")
            if namespace in str(named).split(","):
                return True
    return False
