"""One look at a target for what else takes a request for each object."""

from collections.abc import Collection, Iterable, Mapping

from services.binding.core import Identity, identity
from services.binding.target.parent import GroupKind
from shared.api import ManifestReference
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import Resource

MANY = 4
"""As many objects are worth a look at all of their kind in the namespace."""


async def absent_of(
    client: Client, refs: Iterable[ManifestReference], resources: Mapping[GroupKind, Resource], namespace: str
) -> set[Identity]:
    """Those objects that are not there, as far as it takes one request to know for many."""
    kinds: dict[GroupKind, list[ManifestReference]] = {}
    for ref in refs:
        kinds.setdefault((ref.api_version, ref.kind), []).append(ref)
    found: set[Identity] = set()
    for kind, asked in kinds.items():
        if len(asked) >= MANY:
            missing = await absent(client, resources[kind], [ref.name for ref in asked], namespace)
            found |= {identity(ref) for ref in asked if ref.name in missing}
    return found


async def absent(client: Client, resource: Resource, names: Collection[str], namespace: str) -> frozenset[str]:
    """Those names that no object has. None of them where one look does not tell: there are many more objects than
    names, or we may not list them.
    """
    pages = client.pages(resource, namespace, limit=2 * len(names), metadata=True)
    try:
        page = await anext(pages)
    except ApiError as error:
        if not error.forbidden:
            raise
        return frozenset()
    finally:
        await pages.aclose()
    taken = {str(each["metadata"].get("name", "")) for each in page.items}
    return frozenset() if page.continues else frozenset(names) - taken
