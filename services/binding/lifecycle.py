"""The life of a PlacementBinding: its states, who may act on it now, and what is written when. Values in, values out.

A binding is worked on under a lease: an annotation that is written by compare-and-set, together with what is to be
applied, says that somebody acts in the target, and since when. All others wait until the condition Progressing became
False after that, or its time is over, so that nobody waits for a worker that died. So what is done for a binding in its
target is done by one worker at a time.
"""

from collections.abc import Collection, Iterable
from typing import Literal

import msgspec

from services.binding.core import Identity, Wanted, identity
from services.binding.trouble import Trouble
from shared.api import (
    API_VERSION,
    BindingPhase,
    BoundObject,
    Condition,
    Health,
    ObjectMeta,
    OwnerReference,
    PlacementBinding,
    PlacementBindingSpec,
    PlacementBindingStatus,
    PlacementReference,
    applied_phase,
    get_condition,
    set_condition,
)
from shared.hub.names import (
    APPLIED_FINALIZER,
    ATTEMPT_ANNOTATION,
    LEASE_ANNOTATION,
    PLACEMENT_LABEL,
    binding_name,
    label_value,
)
from shared.kube.times import rfc3339, seconds
from shared.model.refs import TargetRef
from shared.model.report import ObjectHealth
from shared.pipeline.messages import Assigned, Bound, Observed

_MESSAGE = 2048  # characters that the schema allows
_GRAVITY: tuple[Health, ...] = ("Unhealthy", "Degraded", "Unknown", "Progressing", "Healthy")
_AVAILABLE: dict[Health, Literal["True", "False", "Unknown"]] = {"Healthy": "True", "Unknown": "Unknown"}
_AWAITS = "The workload changed and waits for a decision. What was applied before is left as it is until then."
_IN_PLACE: frozenset[BindingPhase] = frozenset({"Applied", "Ready", "Degraded"})


def attempt_of(binding: PlacementBinding) -> int:
    """The attempt that the binding was last written for."""
    text = binding.metadata.annotations.get(ATTEMPT_ANNOTATION, "")
    return int(text) if text.isdecimal() else 0


def lease_of(binding: PlacementBinding) -> str:
    """The lease that was taken last, whoever holds it; empty when there was none."""
    return binding.metadata.annotations.get(LEASE_ANNOTATION, "")


def leased(binding: PlacementBinding, now: float, lease: float) -> float:
    """Seconds for which somebody else may be at work in the target; 0 when nobody is."""
    begun = _begun_at(binding)
    return max(0.0, begun + lease - now) if begun else 0.0


def unconcluded(binding: PlacementBinding) -> bool:
    """True if somebody took the lease and has not ended it: he is at work, or he died."""
    return _begun_at(binding) > 0


def _begun_at(binding: PlacementBinding) -> float:
    """When the lease was taken that nobody has ended; 0 where there is none."""
    begun, progressing = _leased_at(binding), get_condition(binding.status.conditions, "Progressing")
    if progressing is not None:
        at = seconds(progressing.last_transition_time)
        if progressing.status == "True":  # as 0.1 takes a lease
            begun = max(begun, at)
        elif at >= begun:
            return 0.0
    return begun


def leasing(binding: PlacementBinding, name: str, now: float) -> PlacementBinding:
    """Take a lease, of a name that no other has, with the next write of the binding."""
    annotations = {**binding.metadata.annotations, LEASE_ANNOTATION: f"{rfc3339(now)} {name}"}
    return msgspec.structs.replace(binding, metadata=msgspec.structs.replace(binding.metadata, annotations=annotations))


def _leased_at(binding: PlacementBinding) -> float:
    return seconds(lease_of(binding).partition(" ")[0])


def in_place(binding: PlacementBinding) -> bool:
    """True if all that the spec names is in the target, as far as we know."""
    status = binding.status
    return status.phase in _IN_PLACE and status.observed_generation == binding.metadata.generation


def is_settled(before: PlacementBinding | None, intended: PlacementBinding) -> bool:
    """True if what is intended is in the target already, as far as we know."""
    return before is not None and in_place(before) and before.spec == intended.spec


def unfinished(binding: PlacementBinding) -> bool:
    """True if everything in the spec was applied once, but a later correction of drift did not succeed.

    (What was never applied completely is not meant: the worker that was told to apply it keeps trying.)
    """
    return not in_place(binding) and binding.status.observed_generation == binding.metadata.generation


def concerns(binding: PlacementBinding, message: Observed) -> bool:
    """True if an observation belongs to the attempt that this binding was written for, and not to another one."""
    written_for = (binding.spec.placement_ref.uid, attempt_of(binding))
    applied = in_place(binding) or unfinished(binding) or unconcluded(binding)
    return applied and not deleting(binding) and written_for == (message.head.uid, message.head.attempt)


def drifted(binding: PlacementBinding, message: Observed) -> frozenset[Identity]:
    """The objects that are gone from the target, or of which somebody changed fields that we own."""
    owned = {each.ref: each.owned_fields for each in message.objects if each.owned_fields}
    return frozenset(
        identity(each.ref)
        for each in binding.status.objects
        if (name := str(each.ref)) in message.missing
        or (each.owned_fields and owned.get(name, each.owned_fields) != each.owned_fields)
    )


def rest(binding: PlacementBinding, now: float, *, drift: float, refused: float) -> float:
    """Seconds until drift may be corrected: `drift` after the last time, `refused` where somebody has to act first."""
    progressing = get_condition(binding.status.conditions, "Progressing")
    since = seconds(progressing.last_transition_time) if progressing else 0.0
    return max(0.0, since + (refused if binding.status.phase == "Failed" else drift) - now)


def untouched(before: PlacementBinding | None, wanted: Wanted, known: Collection[Identity]) -> frozenset[Identity]:
    """The objects, of those `known` to be in the target, that are wanted as the binding has them.

    None, unless everything in its spec was applied: what was not may be anything.
    """
    if before is None or not in_place(before):
        return frozenset()
    hashes = {identity(each): each.hash for each in before.spec.manifests}
    return frozenset(
        name for each in wanted.refs if (name := identity(each)) in known and hashes.get(name) == each.hash
    )


def deleting(binding: PlacementBinding) -> bool:
    return binding.metadata.deletion_timestamp is not None


def fresh(message: Assigned, replicas: int | None) -> PlacementBinding:
    """The binding as it is created: owned by its Placement, and held by our finalizer."""
    ref, target = message.placement, message.target
    owner = OwnerReference(
        api_version=API_VERSION,
        kind="Placement",
        name=ref.name,
        uid=message.head.uid,
        controller=True,
        block_owner_deletion=True,
    )
    return PlacementBinding(
        metadata=ObjectMeta(
            name=binding_name(ref.name, target),
            namespace=ref.namespace,
            labels={PLACEMENT_LABEL: label_value(ref.name)},
            annotations={ATTEMPT_ANNOTATION: str(message.head.attempt)},
            finalizers=(APPLIED_FINALIZER,),
            owner_references=(owner,),
        ),
        spec=PlacementBindingSpec(
            placement_ref=PlacementReference(name=ref.name, namespace=ref.namespace, uid=message.head.uid),
            target=TargetRef.parse(target).reference,
            replicas=replicas,
            reserved=message.reserved,
            shrinks_to=message.shrinks_to,
        ),
    )


def intended(
    binding: PlacementBinding, message: Assigned, wanted: Wanted | Trouble, replicas: int | None
) -> PlacementBinding:
    """The binding with what is to be applied; the same object when that is what it says already.

    Where trouble keeps us from working out what is wanted, what the target holds stays on record.
    """
    model = fresh(message, replicas)
    match wanted:
        case Trouble():
            manifests, overrides = binding.spec.manifests, binding.spec.overrides_applied
        case _:
            manifests, overrides = wanted.refs, wanted.overrides
    reserving = model.spec if _says_what_is_reserved(binding, message) else binding.spec
    metadata = msgspec.structs.replace(
        binding.metadata,
        labels={**binding.metadata.labels, **model.metadata.labels},
        annotations={**binding.metadata.annotations, **model.metadata.annotations},
        finalizers=tuple(dict.fromkeys((*binding.metadata.finalizers, APPLIED_FINALIZER))),
        owner_references=model.metadata.owner_references,
    )
    new = msgspec.structs.replace(
        binding,
        metadata=metadata,
        spec=msgspec.structs.replace(
            model.spec,
            manifests=manifests,
            overrides_applied=overrides,
            reserved=reserving.reserved,
            shrinks_to=reserving.shrinks_to,
        ),
    )
    return binding if new == binding else new


def _says_what_is_reserved(binding: PlacementBinding, message: Assigned) -> bool:
    """Not where drift of what was decided before is corrected, nor of an attempt that the binding has already: what is
    left of a reservation once that is applied is less, and no reason to apply it again.
    """
    known = binding.metadata.annotations.get(ATTEMPT_ANNOTATION) == str(message.head.attempt)
    return not known and (bool(message.reserved) or message.shrinks_to is not None)


def succeeded(
    binding: PlacementBinding, objects: Iterable[BoundObject], notes: Iterable[str], now: float
) -> PlacementBinding:
    """Everything is applied, and the lease ends. What is known of the health of the same objects stays."""
    at, generation = rfc3339(now), binding.metadata.generation
    known = {(each.ref, each.uid): each for each in binding.status.objects}
    found = tuple(_as_healthy_as(known.get((each.ref, each.uid)), each) for each in objects)
    said = " ".join((f"{len(found)} objects are applied.", *notes))
    conditions = set_condition(binding.status.conditions, "Applied", "True", "Applied", said, at, generation)
    for name, sentence in (
        ("ConflictFree", "No other manager owns a field that is applied."),
        ("PermissionGranted", "The target lets Moorage apply everything."),
    ):
        conditions = set_condition(conditions, name, "True", "Applied", sentence, at, generation)
    conditions = _ended(conditions, binding, "Applied", "Nothing is under way.", now)
    applied = _with(binding, observed_generation=generation, conditions=conditions, retries=0, last_applied=at)
    return _doing(applied, found, at)


def observed(binding: PlacementBinding, seen: Iterable[ObjectHealth], now: float) -> PlacementBinding:
    """The binding with the health of its objects; the same object when that is what it says already."""
    known = {each.ref: each for each in seen}
    objects = tuple(_as_healthy_as(known.get(str(each.ref)), each) for each in binding.status.objects)
    new = _doing(binding, objects, rfc3339(now))
    return binding if new == binding else new


def _as_healthy_as(other: ObjectHealth | BoundObject | None, obj: BoundObject) -> BoundObject:
    if other is None:
        return obj
    return msgspec.structs.replace(obj, health=other.health, message=other.message[:_MESSAGE])


def _doing(binding: PlacementBinding, objects: tuple[BoundObject, ...], at: str) -> PlacementBinding:
    """What is applied, with the health of its objects: Ready, Degraded, or as yet no more than Applied."""
    worst = min(objects, key=lambda each: _GRAVITY.index(each.health), default=None)
    health = worst.health if worst else "Healthy"
    said = "All objects are healthy."
    if worst is not None and health != "Healthy":
        because = f": {worst.message.rstrip('.')}" if worst.message else f" is {health}"
        said = f"{worst.ref.kind} {worst.ref.name}{because}."[:_MESSAGE]
    available = _AVAILABLE.get(health, "False")
    conditions = set_condition(
        binding.status.conditions, "Available", available, health, said, at, binding.metadata.generation
    )
    phase = applied_phase(each.health for each in objects)
    return _with(binding, phase=phase, conditions=conditions, objects=objects)


def failed(binding: PlacementBinding, trouble: Trouble, now: float) -> PlacementBinding:
    """The binding with the reason why it could not be applied (or removed); the lease ends."""
    at, generation = rfc3339(now), binding.metadata.generation
    conditions = binding.status.conditions
    for name in dict.fromkeys(("Applied", trouble.condition)):
        conditions = set_condition(conditions, name, "False", trouble.reason, trouble.message, at, generation)
    conditions = _ended(conditions, binding, trouble.reason, trouble.message, now)
    phase: BindingPhase = "Removing" if deleting(binding) else "Failed" if trouble.lasting else "Applying"
    return _with(binding, phase=phase, conditions=conditions, retries=binding.status.retries + 1)


def _ended(
    conditions: Iterable[Condition], binding: PlacementBinding, reason: str, said: str, now: float
) -> tuple[Condition, ...]:
    """Nothing is under way any more, from now on: while it was, only the lease said so."""
    at = rfc3339(max(now, _leased_at(binding)))
    others = tuple(each for each in conditions if each.type != "Progressing")
    return set_condition(others, "Progressing", "False", reason, said, at, binding.metadata.generation)


def outdated(binding: PlacementBinding, now: float) -> PlacementBinding:
    """The binding where the workload is not (any more) what was decided; the same object when it says so already.

    What is in the target stays, and so does the phase.
    """
    at, generation = rfc3339(now), binding.metadata.generation
    conditions = set_condition(
        binding.status.conditions, "Progressing", "False", "AwaitsDecision", _AWAITS, at, generation
    )
    new = _with(binding, conditions=conditions)
    return binding if new == binding else new


def bound(message: Assigned, binding: PlacementBinding) -> Bound:
    """What is told of a binding that was worked on for a message; its sentence is that of the condition Applied."""
    applied = get_condition(binding.status.conditions, "Applied")
    return Bound(
        placement=message.placement,
        head=message.head,
        target=message.target,
        phase=binding.status.phase,
        applied=attempt_of(binding) if in_place(binding) else 0,
        message="" if applied is None else applied.message,
        objects=tuple(
            ObjectHealth(ref=str(each.ref), health=each.health, message=each.message) for each in binding.status.objects
        ),
        version=binding.metadata.resource_version,
    )


def _with(binding: PlacementBinding, **changes: object) -> PlacementBinding:
    status: PlacementBindingStatus = msgspec.structs.replace(binding.status, **changes)
    return msgspec.structs.replace(binding, status=status)
