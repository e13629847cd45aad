"""What is noted of an object once it is applied. Pure."""

import msgspec

from services.binding.core import Member, Object
from services.binding.target.adoption import is_adopted
from shared.api import BoundObject, ObjectReference
from shared.hub.names import APPLIER
from shared.kube.objects import owned_fields


def applied(member: Member, found: Object) -> BoundObject:
    """A member as the target answered that it has it now."""
    metadata = found["metadata"]
    generation = metadata.get("generation")
    return msgspec.structs.replace(
        begun(member),
        uid=str(metadata.get("uid", "")),
        generation=generation if isinstance(generation, int) and generation > 0 else 0,
        owned_fields=owned_fields(found, APPLIER),
        adopted=is_adopted(found),
    )


def begun(member: Member) -> BoundObject:
    """A member that is about to be applied: of no uid yet."""
    ref = member.ref
    return BoundObject(
        ref=ObjectReference(api_version=ref.api_version, kind=ref.kind, name=ref.name, namespace=ref.namespace),
        hash=member.hash,
        source=member.source,
        source_generation=member.generation,
        expires=member.expires,
        work=member.work,
    )
