"""Any other kind, by the conditions that many follow."""

from services.status.rules.diagnosis import HEALTHY, Diagnosis, Object, condition, said


def generic(obj: Object) -> Diagnosis:
    """Ready, or Available, where the object has such a condition; else it is healthy as soon as it exists."""
    for name in ("Ready", "Available"):
        found = condition(obj, name)
        if found:
            return HEALTHY if found.get("status") == "True" else Diagnosis("Progressing", said(found, f"not {name}"))
    return HEALTHY


def existing(_obj: Object) -> Diagnosis:
    """Kinds that have no state of their own."""
    return HEALTHY
