"""Objects without a namespace are made by one only; definitions are waited for, and stay while they are used."""

import asyncio
from collections.abc import Collection

from services.binding.core import Object
from services.binding.target.parent import GroupKind
from services.binding.trouble import passing
from shared.hub.names import APPLIER
from shared.hub.scope import brings
from shared.kube.apis import RestMapper, UnknownKind
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import Resource

PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds between looks at whether a kind is served: it takes a server some hundredths of a second."""
_RACES = 10
AGAIN = 1.0  # seconds until the whole is tried again, after all of these


async def make(client: Client, resource: Resource, obj: Object) -> None:
    """Make an object unless somebody else has just made one: applying would not tell, as all Placements apply under one
    name. Then it is applied, and `disown` has us own it by that alone.

    Raises Trouble where somebody was faster, and what the client raises.
    """
    try:
        await client.create(resource, obj, field_manager=APPLIER)
    except ApiError as error:
        if not error.already_exists:
            raise
        raise passing("Busy", f"{resource.kind} {obj['metadata']['name']} was just made by another") from None


async def disown(client: Client, resource: Resource, obj: Object) -> Object:
    """Own no field by having made an object: what is not applied any more would stay. The object as it is then."""
    for _ in range(_RACES):
        metadata = obj["metadata"]
        entries = metadata.get("managedFields") or []
        kept = [each for each in entries if (each.get("manager"), each.get("operation")) != (APPLIER, "Update")]
        if kept == entries:
            return obj
        patch = {"metadata": {"resourceVersion": metadata["resourceVersion"], "managedFields": kept}}
        try:
            return await client.merge_patch(resource, metadata["name"], patch, field_manager=APPLIER)
        except ApiError as error:
            if not error.conflict:
                raise
        obj = await client.get(resource, metadata["name"])
    raise passing("Busy", f"{resource.kind} {obj['metadata']['name']} changes too fast")


async def served(mapper: RestMapper, kinds: Collection[GroupKind]) -> dict[GroupKind, Resource]:
    """The resources of kinds whose definitions were just applied, once they are served. Raises Trouble if that takes
    longer, and what discovery raises.
    """
    for pause in PAUSES:
        try:
            return {kind: await mapper.resource(*kind) for kind in kinds}
        except UnknownKind:
            await asyncio.sleep(pause)
            await mapper.refresh()
    some = ", ".join(sorted(kind for _, kind in kinds))
    raise passing("NotEstablished", f"the target does not serve {some} yet, by the definition that is placed", AGAIN)


async def is_used(client: Client, definition: Object) -> bool:
    """Whether there are objects of the kind that a definition serves, whoever has them: they would go with it.

    Those of the same Placement are deleted before. It is asked just before the definition is deleted; who makes an
    object in that moment loses it.
    """
    kind = brings(definition)
    plural = (definition.get("spec") or {}).get("names", {}).get("plural")
    if kind is None or not kind.versions or not isinstance(plural, str):
        return False
    resource = Resource(kind.group, kind.versions[0], plural, kind.namespaced, kind.kind)
    pages = client.pages(resource, limit=1, metadata=True)
    try:
        return bool((await anext(pages)).items)
    except ApiError as error:
        if error.not_found:
            return False  # it is not served
        raise
    finally:
        await pages.aclose()
