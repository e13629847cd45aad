"""The review APIs: objects that are answered and never stored."""

from collections.abc import Callable, Mapping

from services.sandbox import errors
from services.sandbox.access import auth
from services.sandbox.access.auth import Attributes
from services.sandbox.access.users import User
from services.sandbox.errors import Document
from services.sandbox.state.clusters import Address
from services.sandbox.state.store import Store

_ONE = "exactly one of nonResourceAttributes or resourceAttributes must be specified"


def _invalid(field: str, why: str) -> errors.ApiError:
    return errors.invalid("", "authorization.k8s.io", "", [errors.Cause.invalid(f"spec.{field}", why)])


def _attributes(spec: Document) -> Attributes:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and path is not None:
        raise _invalid("nonResourceAttributes", "cannot be specified in combination with resourceAttributes")
    if resource is None and path is None:
        raise _invalid("resourceAttributes", f"null: {_ONE}")
    if path is not None:
        return Attributes(path.get("verb", ""), path=path.get("path", ""))
    asked = resource or {}
    plural = "/".join(part for part in (asked.get("resource", ""), asked.get("subresource", "")) if part)
    named = (asked.get("namespace", ""), asked.get("name", ""))
    return Attributes(asked.get("verb", ""), asked.get("group", ""), plural, *named)


def _access(store: Store, at: Address, user: User, spec: Document) -> Document:
    wanted = _attributes(spec)
    allowed = auth.allowed(store, at.cluster, user, wanted)
    reason = "" if allowed else f'User "{user.name}" has no rule that allows it in {at.cluster.name}'
    return {"allowed": allowed, **({"reason": reason} if reason else {})}


def _subject_access(store: Store, at: Address, _caller: User, spec: Document) -> Document:
    name, groups = spec.get("user", ""), tuple(spec.get("groups") or ())
    if not name and not groups:
        raise _invalid("user", '"": at least one of user or group must be specified')
    if at.namespace and (spec.get("resourceAttributes") or {}).get("namespace") != at.namespace:
        raise _invalid("resourceAttributes.namespace", f"must be {at.namespace}")
    extra = spec.get("extra") or {}
    if not isinstance(extra, dict) or not all(isinstance(values, list) for values in extra.values()):
        raise _invalid("extra", "must be lists of texts by key")
    known = tuple((key, tuple(map(str, values))) for key, values in sorted(extra.items()))
    return _access(store, at, User(name, groups, spec.get("uid", ""), known), spec)


def _self_subject_access(store: Store, at: Address, caller: User, spec: Document) -> Document:
    return _access(store, at, caller, spec)


def _self_rules(store: Store, at: Address, caller: User, spec: Document) -> Document:
    rules = auth.rules_of(store, at.cluster, caller, spec.get("namespace", ""))
    return {
        "resourceRules": [rule for rule in rules if "resources" in rule],
        "nonResourceRules": [rule for rule in rules if "nonResourceURLs" in rule],
        "incomplete": False,
    }


def _self_review(_store: Store, _at: Address, caller: User, _spec: Document) -> Document:
    who = {"username": caller.name, "uid": caller.uid, "groups": list(caller.groups), "extra": dict(caller.extra)}
    return {"userInfo": {name: value for name, value in who.items() if value}}


REVIEWS: Mapping[str, Callable[[Store, Address, User, Document], Document]] = {
    "subjectaccessreviews": _subject_access,
    "localsubjectaccessreviews": _subject_access,
    "selfsubjectaccessreviews": _self_subject_access,
    "selfsubjectrulesreviews": _self_rules,
    "selfsubjectreviews": _self_review,
}


def review(store: Store, at: Address, document: Document, caller: User) -> Document:
    """The object with its status filled in. Raises ApiError 400 for a spec that asks nothing."""
    spec = document.get("spec") or {}
    if not isinstance(spec, dict):
        raise errors.bad_request("spec must be an object")
    envelope = {"apiVersion": at.api_version, "kind": at.resource.kind}
    metadata = document.get("metadata") or {}
    status = REVIEWS[at.resource.plural](store, at, caller, spec)
    return {**envelope, "metadata": metadata, "spec": spec, "status": status}
