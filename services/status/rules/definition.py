"""CustomResourceDefinitions."""

from services.status.rules.diagnosis import HEALTHY, Diagnosis, Object, condition, holds, said


def definition(obj: Object) -> Diagnosis:
    """Names accepted, and served."""
    names = condition(obj, "NamesAccepted")
    if names.get("status") == "False":
        return Diagnosis("Unhealthy", said(names, "its names are taken"))
    return HEALTHY if holds(obj, "Established") else Diagnosis("Progressing", "not served yet")
