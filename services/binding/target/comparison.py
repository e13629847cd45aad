"""What is in a target otherwise than wanted, where nothing is to be changed there. Pure."""

from collections.abc import Sequence

from services.binding.core import Member, Object, without_marks
from services.binding.target.adoption import differing
from services.binding.trouble import Trouble, lasting
from shared.api import ObjectDifference, ObjectReference
from shared.kube.text import named, told

_FIELDS = 64  # of an object that are told
_LONGEST = 512  # characters of a field
_NAMED = 3  # objects that are named in one sentence


def difference(member: Member, found: Object | None) -> ObjectDifference | None:
    """How an object that was found (or was not there) differs from what is wanted; None where it does not."""
    ref = ObjectReference(
        api_version=member.ref.api_version,
        kind=member.ref.kind,
        name=member.ref.name,
        namespace=member.ref.namespace,
    )
    if found is None:
        return ObjectDifference(ref=ref, missing=True)
    fields = differing(found, without_marks(member.object))
    if not fields:
        return None
    return ObjectDifference(ref=ref, fields=tuple(told(each, _LONGEST) for each in fields[:_FIELDS]))


def reported(differences: Sequence[ObjectDifference], objects: int, where: str) -> Trouble:
    """What keeps so many objects from being applied: that nothing is to be changed, but told."""
    first = "; ".join(map(_sentence, differences[:_NAMED]))
    more = f"; and {len(differences) - _NAMED} more" if len(differences) > _NAMED else ""
    said = f"{where}: nothing is changed (conflictPolicy Report); {len(differences)} of {objects} objects differ"
    return lasting("Reported", f"{said}: {first}{more}" if first else said)


def _sentence(each: ObjectDifference) -> str:
    name = named(each.ref.kind, each.ref.name, each.ref.namespace)
    return told(f"{name} is not there" if each.missing else f"{name} ({', '.join(each.fields)})", 300)
