"""CustomResourceDefinitions."""

from services.status.rules.finding import HEALTHY, Finding, Object, condition, holds, said


def definition(obj: Object) -> Finding:
    """Names accepted, and served."""
    names = condition(obj, "NamesAccepted")
    if names.get("status") == "False":
        return Finding("Unhealthy", said(names, "its names are taken"))
    return HEALTHY if holds(obj, "Established") else Finding("Progressing", "not served yet")
