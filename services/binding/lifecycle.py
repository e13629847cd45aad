"""The life of a PlacementBinding: its states, and what is written when. Values in, values out."""

from collections.abc import Collection, Iterable, Sequence
from typing import Literal

import msgspec

from services.binding import lease
from services.binding.core import Identity, Wanted, identity
from services.binding.trouble import Trouble
from shared.api import (
    API_VERSION,
    BindingPhase,
    BoundObject,
    Condition,
    Health,
    ManifestReference,
    ObjectDifference,
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
    PLACEMENT_LABEL,
    TRACE_ANNOTATION,
    binding_name,
    label_value,
)
from shared.kube.times import rfc3339, seconds
from shared.model.refs import TargetRef
from shared.model.report import ObjectHealth, recorded
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


def in_place(binding: PlacementBinding) -> bool:
    """True if all that the spec names is in the target, as far as we know."""
    status = binding.status
    return status.phase in _IN_PLACE and status.observed_generation == binding.metadata.generation


def is_repeated(before: PlacementBinding | None, message: Assigned) -> bool:
    """Whether a message is about an attempt that a binding was written for already."""
    return before is not None and attempt_of(before) == message.head.attempt


def is_settled(before: PlacementBinding | None, intended: PlacementBinding) -> bool:
    """True if what is intended is in the target already, as far as we know."""
    return before is not None and in_place(before) and before.spec == intended.spec


def unfinished(binding: PlacementBinding) -> bool:
    """True if everything in the spec was applied once, but a later correction of drift did not succeed; or all but for
    what others own or what is still to go, which is no reason to leave the rest alone.

    (Of what nobody can say how much was applied is not meant: the worker that was told to apply it keeps trying.)
    """
    return not in_place(binding) and binding.status.observed_generation == binding.metadata.generation


def concerns(binding: PlacementBinding, message: Observed) -> bool:
    """True if an observation belongs to the attempt that this binding was written for, and not to another one."""
    written_for = (binding.spec.placement_ref.uid, attempt_of(binding))
    applied = in_place(binding) or unfinished(binding) or lease.unconcluded(binding)
    return applied and not deleting(binding) and written_for == (message.head.uid, message.head.attempt)


def drifted(binding: PlacementBinding, message: Observed) -> frozenset[Identity]:
    """The objects that are gone from the target, or of which somebody changed fields that we own; but for those that
    ran to their end, or may have.
    """
    owned = {each.ref: each.owned_fields for each in message.objects if each.owned_fields}
    ended = {(each.ref, each.uid) for each in message.objects if each.ended}
    return frozenset(
        identity(each.ref)
        for each in binding.status.objects
        if not each.ended and (str(each.ref), each.uid) not in ended
        if ((name := str(each.ref)) in message.missing and not each.expires)
        or (each.owned_fields and owned.get(name, each.owned_fields) != each.owned_fields)
    )


def untold(binding: PlacementBinding, message: Observed) -> bool:
    """True if an observation says nothing of an object that is applied: what was told of it did not arrive."""
    told = {each.ref for each in message.objects}
    return in_place(binding) and any(str(each.ref) not in told for each in binding.status.objects)


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
    applied = {identity(each): each for each in before.spec.manifests}
    return frozenset(
        name
        for each in wanted.refs
        if (name := identity(each)) in known and name in applied and is_same(applied[name], each)
    )


def is_same(before: ManifestReference | BoundObject, now: ManifestReference) -> bool:
    """Whether what was applied is what is wanted: of the same content, and of the same object of the workspace."""
    return before.hash == now.hash and (not before.source or before.source == now.source)


def as_of(applied: BoundObject, now: ManifestReference) -> BoundObject:
    """What was applied, with the generation in which the workspace has it: of the same content, it may be another."""
    if applied.source_generation == now.source_generation or not is_same(applied, now):
        return applied
    return msgspec.structs.replace(applied, source_generation=now.source_generation)


def deleting(binding: PlacementBinding) -> bool:
    return binding.metadata.deletion_timestamp is not None


def fresh(message: Assigned, replicas: int | None, trace: str = "") -> PlacementBinding:
    """The binding as it is created, in this trace: owned by its Placement, and held by our finalizer."""
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
            annotations={
                ATTEMPT_ANNOTATION: str(message.head.attempt),
                **({TRACE_ANNOTATION: trace} if trace else {}),
            },
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
    binding: PlacementBinding, message: Assigned, wanted: Wanted | Trouble, replicas: int | None, trace: str = ""
) -> PlacementBinding:
    """The binding with what is to be applied; the same object when that is what it says already. It has the `trace` in
    which it was first written for an attempt.

    Where trouble keeps us from working out what is wanted, what the target holds stays on record.
    """
    model = fresh(message, replicas, "" if _is_of(binding, message) else trace)
    match wanted:
        case Trouble():
            manifests, overrides = binding.spec.manifests, binding.spec.overrides_applied
            revision = binding.spec.revision
        case _:
            manifests, overrides, revision = wanted.refs, wanted.overrides, wanted.revision
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
            revision=revision,
            reserved=reserving.reserved,
            shrinks_to=reserving.shrinks_to,
        ),
    )
    return binding if new == binding else new


def _is_of(binding: PlacementBinding, message: Assigned) -> bool:
    """Whether a binding was written for the attempt of a message."""
    return binding.metadata.annotations.get(ATTEMPT_ANNOTATION) == str(message.head.attempt)


def _says_what_is_reserved(binding: PlacementBinding, message: Assigned) -> bool:
    """Not where drift of what was decided before is corrected, nor of an attempt that the binding has already: what is
    left of a reservation once that is applied is less, and no reason to apply it again.
    """
    return not _is_of(binding, message) and (bool(message.reserved) or message.shrinks_to is not None)


def succeeded(
    binding: PlacementBinding, objects: Iterable[BoundObject], notes: Iterable[str], now: float
) -> PlacementBinding:
    """Everything is applied, and the lease ends. What is known of the health of the same objects stays."""
    at, generation = rfc3339(now), binding.metadata.generation
    found = _as_known(binding, objects)
    said = " ".join((f"{len(found)} objects are applied.", *notes))
    conditions = set_condition(binding.status.conditions, "Applied", "True", "Applied", said, at, generation)
    for name, sentence in (
        ("ConflictFree", "No other manager owns a field that is applied."),
        ("PermissionGranted", "The target lets Moorage apply everything."),
    ):
        conditions = set_condition(conditions, name, "True", "Applied", sentence, at, generation)
    conditions = _ended(conditions, binding, "Applied", "Nothing is under way.", now)
    applied = _with(
        binding, observed_generation=generation, conditions=conditions, retries=0, last_applied=at, differences=()
    )
    return _doing(applied, found, at)


def recording(binding: PlacementBinding, obj: BoundObject) -> PlacementBinding:
    """The binding with an object in place of whatever it has on record of it."""
    return _with(binding, objects=(*without(binding, identity(obj.ref)).status.objects, obj))


def without(binding: PlacementBinding, name: Identity) -> PlacementBinding:
    """The binding with nothing on record of an object."""
    return _with(binding, objects=tuple(each for each in binding.status.objects if identity(each.ref) != name))


def observed(binding: PlacementBinding, seen: Iterable[ObjectHealth], now: float) -> PlacementBinding:
    """The binding with the health of its objects; the same object when that is what it says already."""
    known = {each.ref: each for each in seen}
    objects = tuple(_as_healthy_as(known.get(str(each.ref)), each) for each in binding.status.objects)
    new = _doing(binding, objects, rfc3339(now))
    return binding if new == binding else new


def _as_known(binding: PlacementBinding, objects: Iterable[BoundObject]) -> tuple[BoundObject, ...]:
    known = {(each.ref, each.uid): each for each in binding.status.objects}
    return tuple(_as_healthy_as(known.get((each.ref, each.uid)), each) for each in objects)


def _as_healthy_as(other: ObjectHealth | BoundObject | None, obj: BoundObject) -> BoundObject:
    if other is None:
        return obj
    ended = other.ended if other.uid in ("", obj.uid) else obj.ended
    return msgspec.structs.replace(obj, health=other.health, message=other.message[:_MESSAGE], ended=ended or obj.ended)


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


def failed(
    binding: PlacementBinding,
    trouble: Trouble,
    now: float,
    objects: Iterable[BoundObject] | None = None,
    differences: Sequence[ObjectDifference] = (),
) -> PlacementBinding:
    """The binding with the reason why it could not be applied (or removed); the lease ends.

    `objects`: all else was done, and these are there; none where nobody can say.
    """
    at, generation = rfc3339(now), binding.metadata.generation
    if objects is not None:
        binding = _with(binding, observed_generation=generation, objects=_as_known(binding, objects))
    conditions = binding.status.conditions
    for name in dict.fromkeys(("Applied", trouble.condition)):
        conditions = set_condition(conditions, name, "False", trouble.reason, trouble.message, at, generation)
    conditions = _ended(conditions, binding, trouble.reason, trouble.message, now)
    phase: BindingPhase = "Removing" if deleting(binding) else "Failed" if trouble.lasting else "Applying"
    retries = binding.status.retries + 1
    return _with(binding, phase=phase, conditions=conditions, retries=retries, differences=tuple(differences))


def _ended(
    conditions: Iterable[Condition], binding: PlacementBinding, reason: str, said: str, now: float
) -> tuple[Condition, ...]:
    """Nothing is under way any more, from now on: while it was, only the lease said so."""
    at = rfc3339(max(now, lease.begun_at(binding)))
    others = tuple(each for each in conditions if each.type != "Progressing")
    return set_condition(others, "Progressing", "False", reason, said, at, binding.metadata.generation)


def outdated(binding: PlacementBinding, now: float) -> PlacementBinding:
    """The binding where the workload is not (any more) what was decided; the same object when it says so already.

    What is in the target stays, and so does the phase.
    """
    return left(binding, "AwaitsDecision", _AWAITS, now)


def left(binding: PlacementBinding, reason: str, said: str, now: float, **changes: object) -> PlacementBinding:
    """The binding with a reason why what is in the target stays as it is, and so does the phase; the same object when
    it says so already.
    """
    at, generation = rfc3339(now), binding.metadata.generation
    conditions = set_condition(binding.status.conditions, "Progressing", "False", reason, said, at, generation)
    new = _with(binding, conditions=conditions, **changes)
    return binding if new == binding else new


def bound(message: Assigned | Observed, binding: PlacementBinding, *, repeated: bool = False) -> Bound:
    """What is told of a binding that was worked on for a message; its sentence is that of the condition Applied."""
    applied, failed = get_condition(binding.status.conditions, "Applied"), binding.status.phase == "Failed"
    since = applied.last_transition_time if failed and applied is not None else binding.status.last_applied
    return Bound(
        placement=message.placement,
        head=message.head,
        target=message.target,
        block=message.block,
        phase=binding.status.phase,
        applied=attempt_of(binding) if in_place(binding) else 0,
        reason=applied.reason if failed and applied is not None else "",
        message="" if applied is None else applied.message,
        objects=tuple(map(recorded, binding.status.objects)),
        version=binding.metadata.resource_version,
        since=since or "",
        repeated=repeated or (failed and binding.status.retries > 1),
    )


def _with(binding: PlacementBinding, **changes: object) -> PlacementBinding:
    status: PlacementBindingStatus = msgspec.structs.replace(binding.status, **changes)
    return msgspec.structs.replace(binding, status=status)
