"""Objects that are made anew: what is deleted to be applied."""

from services.binding.core import Member, Object
from services.binding.runs import is_another
from services.binding.target.absence import unless_absent
from services.binding.target.leaving import propagation, waits
from services.binding.trouble import Trouble, lasting, passing
from shared.api import BoundObject, ManifestReference
from shared.hub.names import APPLIER
from shared.hub.scope import is_definition
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import Resource
from shared.kube.text import named, told

_PREFIX = 58  # characters of a name before what an API server adds to it


def begins_anew(member: Member, recorded: BoundObject) -> bool:
    """Whether what was applied is to be replaced, whatever it contains: a run of its own."""
    return member.ends and is_another(member, recorded) and not recorded.adopted


def may_replace(member: Member, recorded: BoundObject | None, *, recreate: bool) -> bool:
    """Whether an object may be deleted and made anew where the target does not let it be changed; never what was there
    before us, and what keeps data only where the Placement says so.
    """
    if recorded is None or recorded.adopted or is_definition(member.ref.api_version, member.ref.kind):
        return False  # with a definition, everybody's objects of its kind would go
    return recreate or (is_another(member, recorded) and not _keeps_data(member.object))


async def replace(client: Client, resource: Resource, obj: Object, uid: str) -> None:
    """Delete an object so that it can be made anew, if the target would take what is wanted.

    Raises Trouble until it is gone, and what the client raises: an Invalid means that the content itself is refused.
    """
    metadata = obj["metadata"]
    name, namespace = metadata["name"], metadata.get("namespace", "")
    bare = {key: value for key, value in metadata.items() if key not in ("name", "uid")}
    trial = {**obj, "metadata": {**bare, "generateName": f"{name[:_PREFIX]}-"}}
    await client.create(resource, trial, dry_run=True, field_manager=APPLIER)
    await end(client, resource, name, namespace, uid)


async def end(client: Client, resource: Resource, name: str, namespace: str, uid: str) -> None:
    """Delete an object of this uid, with its pods: there are not to be those of two at once. Raises Trouble until it is
    gone.
    """
    bare = {"apiVersion": resource.api_version, "kind": resource.kind}
    try:
        await unless_absent(client.delete(resource, name, namespace, propagation=propagation(bare), uid=uid))
    except ApiError as error:
        if not error.conflict:  # another has the name by now
            raise
    found = await unless_absent(client.get(resource, name, namespace))
    if found is not None and found["metadata"]["uid"] == uid:
        raise passing("Recreating", f"it is to be made anew: {waits({**bare, **found})}")


def refused(ref: ManifestReference, error: ApiError) -> Trouble:
    """The trouble that it means where a target does not take a change of an object that it has."""
    causes = error.details.get("causes")
    found = [each for each in causes if isinstance(each, dict)] if isinstance(causes, list) else []
    fields = ", ".join(dict.fromkeys(str(each.get("field", "")) for each in found)) or "the change"
    said = f"{named(ref.kind, ref.name, ref.namespace)}: the target does not take {told(fields, 300)}"
    why = next((str(each.get("message", "")) for each in found), "") or error.message or ""
    return lasting(
        error.reason or "Invalid",
        f"{said} ({told(why[-200:])}); made anew in the workspace, or with onImmutableChange Recreate, it is replaced",
    )


def _keeps_data(obj: Object) -> bool:
    spec = obj.get("spec")
    claims = isinstance(spec, dict) and bool(spec.get("volumeClaimTemplates"))
    return claims or obj["kind"] == "PersistentVolumeClaim"
