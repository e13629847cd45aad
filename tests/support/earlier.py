"""What earlier releases put on a hub."""

from typing import Any

import msgspec

from shared.api.generate.crds import crd
from shared.api.resources import RESOURCES


def earlier_decisions() -> dict[str, Any]:
    """The CRD of PlacementDecisions as 0.1 has it: with a status subresource, and without what is new."""
    (resource,) = (each for each in RESOURCES if each.plural == "placementdecisions")
    definition = crd(msgspec.structs.replace(resource, status=True))
    fields = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    for name in ("decisions", "revision", "slices"):
        del fields[name]
    return definition
