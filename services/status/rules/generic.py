"""Any other kind, by the conditions that many follow."""

from services.status.rules.finding import HEALTHY, Finding, Object, condition, said


def generic(obj: Object) -> Finding:
    """Ready, or Available, where the object has such a condition; else it is healthy as soon as it exists."""
    for name in ("Ready", "Available"):
        found = condition(obj, name)
        if found:
            return HEALTHY if found.get("status") == "True" else Finding("Progressing", said(found, f"not {name}"))
    return HEALTHY


def existing(_obj: Object) -> Finding:
    """Kinds that have no state of their own."""
    return HEALTHY
