"""Random requests, the same for the same seed, and what of the answers two API servers have to agree on. Pure.

Left out is what `docs/sandbox.md` lists as different.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from shared.kube.errors import ApiError
from shared.kube.resources import CONFIGMAPS, SECRETS, Resource
from tests.conformance.widgets import OLD_WIDGETS, WIDGETS

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles", kind="Role")
NAMES = ("a", "b")
Value = dict[str, Any]


class Ask(NamedTuple):
    """One request; where it `knows`, its body is to carry the version that the server has."""

    method: str
    resource: Resource
    name: str = ""
    subresource: str = ""
    params: Mapping[str, str] = MappingProxyType({})
    body: Any = None
    content_type: str = "application/json"
    knows: bool = False


def asks(seed: int, count: int) -> Iterator[Ask]:
    """That many requests about a few objects, one after another."""
    source = _Source(seed)
    for _ in range(count):
        yield source.ask()


class _Source:
    """Everything that chance decides."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._pick = self._chance.choice

    def ask(self) -> Ask:
        resource = self._pick([WIDGETS, WIDGETS, WIDGETS, OLD_WIDGETS, CONFIGMAPS, SECRETS, ROLES])
        name, subresource = self._pick(NAMES), "status" if resource is WIDGETS and self._often(0.2) else ""
        manager = {"fieldManager": self._pick(["ann", "ben", "cid"])}
        strictness: Value = self._pick([{}, {}, {"fieldValidation": "Strict"}, {"fieldValidation": "Ignore"}])
        params = {**manager, **strictness, **({"dryRun": "All"} if self._often(0.1) else {})}
        whole = self._object(resource, name, subresource)
        kinds = ["apply"] * 5 + ["merge"] * 2 + ["json"] * 2 + ["create", "replace", "get", "delete"]
        kind = "apply" if resource is OLD_WIDGETS else self._pick(kinds)  # see "another version" in the list
        if subresource and kind != "apply":
            whole["spec"] = {}  # which is not looked at
        match kind:
            case "apply":
                forced = {"force": "true"} if self._often(0.4) else {}
                return Ask("PATCH", resource, name, subresource, {**params, **forced}, whole, APPLY)
            case "merge":
                fields = (
                    [subresource] if subresource else [each for each in whole if each not in ("apiVersion", "kind")]
                )
                body = {field: whole[field] for field in fields}
                whole["metadata"].pop("name")
                form = MERGE if resource is WIDGETS else self._pick([MERGE, STRATEGIC])
                return Ask("PATCH", resource, name, subresource, params, self._with_nulls(body), form)
            case "json" if resource is WIDGETS and not subresource:
                return Ask("PATCH", resource, name, subresource, params, self._operations(), JSON_PATCH)
            case "replace" if resource is not ROLES:
                return Ask("PUT", resource, name, subresource, params, whole, knows=self._often(0.8))
            case "create":
                return Ask("POST", resource, params=params, body=whole)
            case "delete" if self._often(0.5):
                return Ask("DELETE", resource, name)
        return Ask("GET", resource, name)

    def _often(self, share: float) -> bool:
        return self._chance.random() < share

    def _some(self, values: str) -> list[str]:
        return self._chance.sample(values, self._chance.randint(0, len(values)))

    def _strings(self, names: str) -> Value:
        return {name: self._pick("12") for name in self._some(names)}

    def _object(self, resource: Resource, name: str, subresource: str) -> Value:
        metadata: Value = {"name": name}
        if self._often(0.25):
            metadata["labels"] = self._strings("xy")
        if self._often(0.2):
            metadata["annotations"] = {"x": self._pick("12")}
        if self._often(0.04):
            metadata["labels"] = self._pick([{"-bad": "1"}, {"x": "bad value"}, {"a/b/c": "1"}, {"x" * 64: "1"}])
        if self._often(0.05):
            metadata["finalizers"] = [f"example.com/{each}" for each in self._some("pq")]
        made: Value = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
        if resource is CONFIGMAPS:
            made["data"] = (
                self._pick([self._strings("abc"), {"bad key": "1"}]) if self._often(0.1) else self._strings("abc")
            )
            return made
        if resource is SECRETS:
            made |= {"data": {key: self._pick(["MQ==", "Mg=="]) for key in self._some("ab")}}
            return {**made, "stringData": self._strings("s")} if self._often(0.3) else made
        if resource is ROLES:
            rule = {"apiGroups": [""], "resources": self._pick([["pods"], ["pods", "secrets"], []]), "verbs": ["get"]}
            return {**made, "rules": [rule]}
        made["spec"] = {
            field: self._field(field) for field in self._chance.sample(list(_FIELDS), self._pick([0, 1, 3]))
        }
        if subresource:
            types = self._chance.sample(["Ready", "Ok"], self._pick([0, 1, 2]))
            conditions = [{"type": each, "status": self._pick(["True", "False"])} for each in types]
            made["status"] = {"phase": self._pick("ab"), "conditions": conditions}
        return made

    def _field(self, name: str) -> Any:
        return self._pick(_FIELDS[name]) if name in _FIELDS else self._pick("ab")

    def _with_nulls(self, value: Any) -> Any:
        """With some fields set to null, which takes them away."""
        if not isinstance(value, dict):
            return value
        share = {"metadata": 0.0, "rules": 0.0}  # which no object is without
        return {
            name: None if self._often(share.get(name, 0.1)) else self._with_nulls(item) for name, item in value.items()
        }

    def _operations(self) -> list[Value]:
        paths = ["/spec/color", "/spec/tags/-", "/spec/tags/0", "/spec/options/o", "/metadata/labels/x", "/spec/no/x"]
        made = []
        for _ in range(self._pick([1, 1, 2])):
            operation: Value = {
                "op": self._pick(["add", "replace", "remove", "test", "copy"]),
                "path": self._pick(paths),
            }
            if operation["op"] == "copy":
                operation["from"] = self._pick(["/spec/color", "/spec/tags/0"])
            elif operation["op"] != "remove":
                operation["value"] = self._pick(["red", "blue", "a"])
            made.append(operation)
        return made


_FIELDS: dict[str, list[Any]] = {
    "size": [0, 5, 7, 2.0, 101, "5", None],
    "color": ["red", "blue", "blue", "pink", None],
    "code": ["abc", "taken", "ABC", "abcdefghi"],
    "fixed": ["a", "a", "a", "b"],
    "min": [0, 1, 2],
    "max": [1, 2, 3],
    "note": ["n", None],
    "amount": [1, "50%", True, None],
    "tags": [[], ["a"], ["b", "a"], ["a", "c", "b"], ["a", "a"]],
    "steps": [[], ["s"], ["s", "s"]],
    "listeners": [
        [],
        [{"port": 80}],
        [{"port": 443, "name": "x"}, {"port": 80, "protocol": "UDP"}],
        [{"port": 80, "name": "y"}, {"port": 443}],
        [{"port": 80}, {"port": 80, "protocol": "TCP"}],
        [{"name": "x"}],
    ],
    "options": [{}, {"o": "1"}, {"o": "2", "p": "1"}, {"q": "1"}, {"q": 1}],
    "selector": [{}, {"a": "1"}, {"a": "2", "b": "1"}],
    "deep": [{}, {"level": "high"}, {"other": "o"}, {"bogus": 1}, None],
    "free": [{}, {"a": 1}, {"a": {"b": 2}}, {"a": {}}, {"l": [1, 2]}, {"a": None}],
}
_OWN = ("uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "kcp.io/cluster")  # each server's
_UNORDERED: dict[str, Callable[[Value], str]] = {  # what comes in the order of Go's maps, or of the second; maybe twice
    "causes": lambda each: f"{each['field']} {each['message']}",
    "managedFields": lambda each: " ".join(each.get(name, "") for name in ("manager", "operation", "subresource")),
}


def comparable(answer: Value | ApiError) -> Any:
    """What has to be the same: all but what is each server's own, and the order of what has none."""
    if not isinstance(answer, ApiError):
        return _common(answer)
    random_order = "causes" in answer.details or "errors:" in answer.message
    message = answer.message.partition(": ")[0] if random_order else answer.message
    return {"code": answer.status, "reason": answer.reason, "message": message, "details": _common(answer.details)}


def _unquoted(message: str) -> str:
    """Without the object that a patch made, which is quoted where it cannot be read."""
    return re.sub(r'Invalid value: "\{.*\}": ', "Invalid value: ", message)


def _common(value: Any) -> Any:
    if isinstance(value, list):
        return [_common(item) for item in value]
    if not isinstance(value, dict):
        return _unquoted(value) if isinstance(value, str) else value
    found: Value = {}
    for name, item in value.items():
        if name == "time":
            found[name] = "some"
        elif name not in _OWN and not (name == "annotations" and not _common(item)):
            found[name] = _common(item)
            if key := _UNORDERED.get(name):
                found[name] = [each for _, each in sorted({key(each): each for each in found[name]}.items())]
    return found
