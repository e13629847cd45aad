"""One look at a target for what else takes a request for each object."""

from collections.abc import Collection

from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import Resource

MANY = 4
"""As many objects are worth a look at all of their kind in the namespace."""


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
