"""Admission: refusing or completing an object of a kind that means something to the server itself."""

import base64
from typing import Any

import msgspec

from services.sandbox.access.auth import RBAC_GROUP, Attributes, allowed
from services.sandbox.errors import Cause, Document
from services.sandbox.objects import guards
from services.sandbox.objects.registry import Write
from services.sandbox.schemas.definitions import definition_problems
from services.sandbox.schemas.kinds import DEFINITIONS, NAMESPACES, WORKSPACES
from services.sandbox.schemas.resources import from_definition
from services.sandbox.state.clusters import Address
from services.sandbox.state.store import Store
from shared.api import GROUP

NAMESPACE_NAME = "kubernetes.io/metadata.name"
_ROLE_REF = {"APIGroup": "apiGroup", "Kind": "kind", "Name": "name"}  # told by the names of Go's fields
_FIXED = {  # fields that stay as they were made
    DEFINITIONS: "spec.scope",
    "secrets": "type",
    **dict.fromkeys(("deployments.apps", "daemonsets.apps", "replicasets.apps"), "spec.selector"),
    "jobs.batch": "spec.template",
    "statefulsets.apps": "spec.serviceName",
}


def admit(at: Address, new: Document, old: Document | None, write: Write, store: Store, *, guarded: bool) -> None:
    """Refuse or complete an object on its way in, beside what the `store` has; one of Moorage's own if `guarded`."""
    if old and not write.subresource:
        _check_fixed(at, new, old)
    if at.resource.id == NAMESPACES and old is None:
        new["status"] = {"phase": "Active"}
        new.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
        new["metadata"]["labels"] = {**(new["metadata"].get("labels") or {}), NAMESPACE_NAME: at.name}
    elif at.resource.id == "secrets" and (strings := new.pop("stringData", None)):
        encoded = {key: base64.b64encode(text.encode()).decode() for key, text in strings.items()}
        new["data"] = {**(new.get("data") or {}), **encoded}
    elif at.resource.id == WORKSPACES and old is None:
        new["status"] = {"phase": "Scheduling"}
    elif at.resource.id == DEFINITIONS and not write.subresource:
        _check_definition(at, new, old)
    elif guarded and at.resource.group == GROUP and not at.cluster.is_target:
        _guard(at, new, old, write, store)
        if at.resource.plural == "placementoverrides" and not write.subresource:
            others = (each.document() for each in store.entries(at.cluster.name, at.resource.id))
            if why := guards.contradiction(new, others):
                raise at.invalid(Cause("FieldValueInvalid", "spec", why))
        if at.resource.plural == "placementquotas" and not write.subresource and (why := guards.bounds_itself(new)):
            raise at.invalid(Cause("FieldValueInvalid", "spec.workspace", why))


def _guard(at: Address, new: Document, old: Document | None, write: Write, store: Store) -> None:
    """What admission policies do on a real hub. Raises ApiError 403."""
    why = guards.refusal(at.resource.id, write.subresource, write.user, new, old)
    if not why and at.resource.id in guards.STAMPED and not write.subresource:
        if at.resource.plural == "placements":
            guards.held(new, old)
        why = guards.stamped(new, old, write.user)
        if not why and at.resource.plural == "placements" and guards.approves(new, old):
            wanted = Attributes("approve", GROUP, at.resource.plural, at.namespace, at.name)
            why = "" if allowed(store, at.cluster, write.user, wanted) else guards.NOT_APPROVED
    if at.resource.plural == "synctargets" and not write.subresource and guards.led_by_others(new, old, write.user):
        why = guards.LED_BY_OTHERS
    if why:
        raise at.forbidden(why)


def _check_fixed(at: Address, new: Document, old: Document) -> None:
    """Refuse changes of what is for good. Raises ApiError 422."""
    problem = None
    if old.get("immutable") is True and at.resource.id in ("configmaps", "secrets"):
        if any(new.get(name) != old.get(name) for name in ("data", "binaryData", "immutable")):
            problem = "data", "Forbidden: field is immutable when `immutable` is set"
    elif "roleRef" in old and at.resource.group == RBAC_GROUP and new.get("roleRef") != old["roleRef"]:
        told = {name: new.get("roleRef", {}).get(given, "") for name, given in _ROLE_REF.items()}
        problem = "roleRef", f"Invalid value: {msgspec.json.encode(told).decode()}: cannot change roleRef"
    elif field := _FIXED.get(at.resource.id):
        before, after = (_at(each, field) for each in (old, new))
        if before != after:
            problem = field, f"Invalid value: {msgspec.json.encode(after).decode()}: field is immutable"
    if problem:
        raise at.invalid(Cause("FieldValueInvalid", *problem))


def _at(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _check_definition(at: Address, document: Document, old: Document | None) -> None:
    stored = ((old or {}).get("status") or {}).get("storedVersions") or ()
    if problems := definition_problems(document["spec"], stored):
        raise at.invalid(*problems)
    spec = document["spec"]
    try:
        resource = from_definition(spec)
        spec.setdefault("conversion", {"strategy": "None"})
        spec["names"] = {"singular": resource.singular, "listKind": resource.list_name, **spec["names"]}
    except (KeyError, TypeError, AttributeError, ValueError, StopIteration) as error:
        cause = Cause.invalid("spec", f"{type(error).__name__}: {error}"[:500])
        raise at.invalid(cause) from error
    if at.name != resource.definition:
        cause = Cause.invalid("metadata.name", f'"{at.name}": must be {resource.definition}')
        raise at.invalid(cause)
