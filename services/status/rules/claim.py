"""PersistentVolumeClaims."""

from services.status.rules.finding import HEALTHY, Finding, Object, mapping


def claim(obj: Object) -> Finding:
    """Bound to a volume. One whose class waits for the first pod stays in progress until there is one."""
    match mapping(obj, "status").get("phase"):
        case "Bound":
            return HEALTHY
        case "Lost":
            return Finding("Unhealthy", "its volume is lost")
    return Finding("Progressing", "waits for a volume")
