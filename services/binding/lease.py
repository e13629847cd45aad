"""The lease on a PlacementBinding. Values in, values out.

A binding is worked on under a lease: an annotation that is written by compare-and-set, together with what is to be
applied, says that somebody acts in the target, and since when. All others wait until the condition Progressing became
False after that, or its time is over, so that nobody waits for a worker that died. So what is done for a binding in its
target is done by one worker at a time.
"""

import msgspec

from shared.api import PlacementBinding, get_condition
from shared.hub.names import LEASE_ANNOTATION
from shared.kube.times import rfc3339, seconds


def name_of(binding: PlacementBinding) -> str:
    """What names the lease that was taken last, whoever holds it; empty when there was none."""
    return binding.metadata.annotations.get(LEASE_ANNOTATION, "")


def remaining(binding: PlacementBinding, now: float, lease: float) -> float:
    """Seconds for which somebody else may be at work in the target; 0 when nobody is."""
    begun = _open_since(binding)
    return max(0.0, begun + lease - now) if begun else 0.0


def unconcluded(binding: PlacementBinding) -> bool:
    """True if somebody took the lease and has not ended it: he is at work, or he died."""
    return _open_since(binding) > 0


def _open_since(binding: PlacementBinding) -> float:
    """When the lease was taken that nobody has ended; 0 where there is none."""
    begun, progressing = begun_at(binding), get_condition(binding.status.conditions, "Progressing")
    if progressing is not None:
        at = seconds(progressing.last_transition_time)
        if progressing.status == "True":  # as 0.1 takes a lease
            begun = max(begun, at)
        elif at >= begun:
            return 0.0
    return begun


def taken(binding: PlacementBinding, name: str, now: float) -> PlacementBinding:
    """Take a lease, of a name that no other has, with the next write of the binding."""
    annotations = {**binding.metadata.annotations, LEASE_ANNOTATION: f"{rfc3339(now)} {name}"}
    return msgspec.structs.replace(binding, metadata=msgspec.structs.replace(binding.metadata, annotations=annotations))


def begun_at(binding: PlacementBinding) -> float:
    """When the lease was taken that was taken last; 0 where there was none."""
    return seconds(name_of(binding).partition(" ")[0])
