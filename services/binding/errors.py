"""The trouble that an error of an API server means."""

from services.binding.trouble import Trouble, lasting, passing
from shared.kube.apis import UnknownKind
from shared.kube.errors import ApiError, ConfigError, KubeError
from shared.kube.text import told


def of(error: Exception, where: str) -> Trouble:
    """The trouble that an error means; `where` says who answered, such as `target root:platform/east-1`."""
    if isinstance(error, UnknownKind):
        return lasting("UnknownKind", f"{where}: {told(str(error))}")
    if isinstance(error, ConfigError):  # which Secret, and which address, is for the owner of the SyncTarget to know
        return lasting("NoCredentials", f"{where}: its kubeconfig cannot be used, as its SyncTarget says")
    if not isinstance(error, ApiError):
        return passing("Unreachable", f"{where} does not answer as it should")
    said = f"{where}: {error.message or error}"
    if terminating(error):
        return passing("NamespaceTerminating", said)
    if error.forbidden:
        return Trouble("PermissionGranted", "Forbidden", said, lasting=True)
    if error.conflict:
        return Trouble("ConflictFree", "FieldConflict", f"{where}: {conflict(error)}", lasting=True)
    if error.unauthorized:
        return passing("Unauthorized", said)
    if error.transient:
        return passing("Unavailable", said, error.retry_after)
    return lasting(error.reason or f"Status{error.status}", said)


def silent(error: KubeError) -> bool:
    """Whether the target did not answer, or answered with a server error: that is what the circuit breaker counts."""
    return not isinstance(error, ApiError | ConfigError) or (isinstance(error, ApiError) and error.status >= 500)


def managers(error: ApiError) -> set[str]:
    """The field managers that a conflict names (`conflict with "kubectl" using apps/v1`)."""
    named = (str(cause.get("message", "")).split('"') for cause in _causes(error))
    return {parts[1] for parts in named if len(parts) > 1}


def contested(error: ApiError) -> list[str]:
    """The fields that a conflict names (`.spec.replicas`)."""
    return [str(cause.get("field", "")) for cause in _causes(error)]


def terminating(error: ApiError) -> bool:
    """Whether an object was refused because its namespace is being deleted: a 403 that no right would change."""
    return error.forbidden and "NamespaceTerminating" in (cause.get("reason") for cause in _all_causes(error))


def another(error: ApiError) -> bool:
    """Whether an apply was refused because the object has another uid, or is not there, as API servers say it."""
    fields = [cause.get("field") for cause in error.details.get("causes") or () if isinstance(cause, dict)]
    return (error.invalid and "metadata.uid" in fields) or (error.conflict and not managers(error))


def conflict(error: ApiError) -> str:
    """A conflict over fields in one sentence: who owns which."""
    owners = ", ".join(sorted(managers(error)))
    fields = ", ".join(sorted(str(cause.get("field", "")) for cause in _causes(error)))
    if not owners:
        return error.message or str(error)
    kind, name = error.details.get("kind", "the object"), error.details.get("name", "")
    return told(f"{kind} {name}: {owners} owns {fields}") + "; conflictPolicy TakeOver would take it over"


def _causes(error: ApiError) -> list[dict[str, object]]:
    return [each for each in _all_causes(error) if each.get("reason") == "FieldManagerConflict"]


def _all_causes(error: ApiError) -> list[dict[str, object]]:
    causes = error.details.get("causes")
    return [each for each in causes if isinstance(each, dict)] if isinstance(causes, list) else []
