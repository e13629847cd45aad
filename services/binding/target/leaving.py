"""Objects that are deleted and still there: how they are deleted, and what they wait for. Pure.

What runs pods is deleted in the foreground: it stays until its pods have ended, so that capacity is not given back
while they run. All else is deleted in the background.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from services.binding.core import Object
from services.binding.trouble import REMOVING, Trouble, passing
from shared.hub.kinds import BUILT_IN, is_built_in
from shared.kube.text import named, told

_NAMED = 3  # objects that are named in one sentence
_LONGEST = 300  # characters of what is said of one object
FOREGROUND = "foregroundDeletion"


def propagation(obj: Mapping[str, Any]) -> Literal["Background", "Foreground"]:
    """How an object is to be deleted. Of a kind that we do not know, anything may run pods."""
    known = is_built_in(str(obj.get("apiVersion", "")), str(obj.get("kind", "")))
    return "Background" if known and not BUILT_IN.of(obj).has_pods else "Foreground"


def is_leaving(obj: Mapping[str, Any]) -> bool:
    """Whether an object, or the answer to its deletion, says that it is deleted and still there."""
    metadata = obj.get("metadata")
    return isinstance(metadata, Mapping) and bool(metadata.get("deletionTimestamp"))


def removing(left: Sequence[Object], where: str) -> Trouble:
    """The trouble that it is that objects are still there; `where` says in which target."""
    first = "; ".join(sorted(map(waits, left))[:_NAMED])
    more = f"; and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
    return passing(REMOVING, f"{where}: {first}{more}")


def waits(obj: Object) -> str:
    """What an object that was deleted waits for, in one sentence."""
    metadata = obj["metadata"]
    if not is_leaving(obj):
        name = metadata.get("name", "")
        return f"{obj.get('kind', '')} {name} stays while there are objects of its kind, which would go with it"
    finalizers = [str(each) for each in metadata.get("finalizers") or ()]
    foreign = [each for each in finalizers if each != FOREGROUND]
    if foreign:
        why = f"waits for {'finalizer' if len(foreign) == 1 else 'finalizers'} {', '.join(foreign)}"
    elif finalizers:
        why = "waits until what it made has ended"
    else:
        why = "is ending"
    name = named(str(obj.get("kind", "")), str(metadata.get("name", "")), str(metadata.get("namespace", "")))
    return told(f"{name} is being deleted since {metadata.get('deletionTimestamp', '')} and {why}", _LONGEST)
