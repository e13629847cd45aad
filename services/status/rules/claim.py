"""PersistentVolumeClaims."""

from services.status.rules.diagnosis import HEALTHY, Diagnosis, Object, mapping


def claim(obj: Object) -> Diagnosis:
    """Bound to a volume. One whose class waits for the first pod stays in progress until there is one."""
    match mapping(obj, "status").get("phase"):
        case "Bound":
            return HEALTHY
        case "Lost":
            return Diagnosis("Unhealthy", "its volume is lost")
    return Diagnosis("Progressing", "waits for a volume")
