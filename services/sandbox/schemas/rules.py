"""Validation rules of CustomResourceDefinitions: CEL in `x-kubernetes-validations`.

Compiled once per schema; the engine is loaded with the first schema that has rules. It gives up on an expression after
10,000 iterations, and we on an object after `BUDGET_SECONDS` of processor time. Values are typed by their JSON and the
schema's `integer` and `number`; strings with a format are strings. Kubernetes' own libraries of functions are missing,
but those of CEL's strings and math.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from services.sandbox.errors import Cause, Document
from services.sandbox.schemas.schema import child, item_element

BUDGET_SECONDS = 0.5
MAX_LENGTH = 8192
WORD = "x-kubernetes-validations"
ABSENT: Any = object()
_MESSAGES = {
    "FieldValueInvalid": "Invalid value: {shown}{said}",
    "FieldValueForbidden": "Forbidden: {said}",
    "FieldValueRequired": "Required value: {said}",
    "FieldValueDuplicate": "Duplicate value: {shown}",
}
_RESERVED = re.compile(
    "as|break|const|continue|else|false|for|function|if|import|in|let|loop|namespace|null|package|return|true|var|void|while"
)
_ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_FIELD = re.compile(r"\b(?:self|oldSelf)\.(\w+)\b(?!\s*\()")
Compiled = Callable[[Any, Any], Any]


class _Rule(NamedTuple):
    """`said` makes the message; `on_change` rules compare with the old value, so they hold for updates alone."""

    holds: Compiled
    said: Compiled
    on_change: bool
    reason: str
    path: str
    type: str


class _Node(NamedTuple):
    """A part of the schema that has rules, or parts with rules. `item` names the items of a keyed list; `on_change`
    says whether any rule here or below compares with the old value."""

    schema: Document
    rules: list[_Rule]
    fields: Mapping[str, "_Node"]
    others: "_Node | None"
    items: "_Node | None"
    item: Callable[[Any], str] | None
    on_change: bool


class Rules:
    """All rules of a schema. Raises ValueError for one that is none."""

    def __init__(self, schema: Document) -> None:
        self._root = _node(schema, "openAPIV3Schema")

    def check(self, document: Document, old: Document | None) -> list[Cause]:
        """What breaks the rules; what was so before an update, and did not change, may stay."""
        deadline, overdue = time.thread_time() + BUDGET_SECONDS, time.monotonic() + BUDGET_SECONDS
        causes = []
        for cause in _check(self._root, document, ABSENT if old is None else old, "") if self._root else ():
            if cause:
                causes.append(cause)
            # To ask for processor time is a system call, and it never passes more quickly than the clock.
            if time.monotonic() > overdue and time.thread_time() > deadline:
                said = "validation failed due to running out of cost budget, no further validation rules will be run"
                return [*causes, Cause("FieldValueForbidden", "<nil>", f"Forbidden: {said}")]
        return causes


@lru_cache(maxsize=1024)
def compile_rules(encoded: bytes) -> Rules | None:
    """The rules of an encoded schema, none if it has none. Raises ValueError."""
    return Rules(msgspec.json.decode(encoded)) if f'"{WORD}"'.encode() in encoded else None


def _check(node: _Node, value: Any, old: Any, path: str) -> Iterator[Cause | None]:
    """A cause for each rule that is broken, and none for each that holds."""
    unchanged = old == value
    if unchanged and not node.on_change:
        return
    due = [rule for rule in node.rules if (old is not ABSENT if rule.on_change else not unchanged)]
    self, before = (_typed(each, node.schema) for each in (value, old)) if due else (None, None)
    for rule in due:
        result = rule.holds(self, before)
        if result is True:
            yield None
            continue
        if isinstance(result, str):
            yield Cause("FieldValueInvalid", path.removeprefix("."), f'Invalid value: "{rule.type}": {result}')
            continue
        shown = "" if isinstance(value, dict | list) else f"{msgspec.json.encode(value).decode()}: "
        message = _MESSAGES[rule.reason].format(shown=shown, said=rule.said(self, before)).removesuffix(": ")
        yield Cause(rule.reason, f"{path}{rule.path}".removeprefix("."), message)
    if isinstance(value, dict):
        for name, item in value.items():
            if inner := node.fields.get(name, node.others):
                before = old.get(name, ABSENT) if isinstance(old, dict) else ABSENT
                yield from _check(inner, item, before, f"{path}.{name}")
    elif isinstance(value, list) and node.items:
        named = {node.item(item): item for item in old} if node.item and isinstance(old, list) else {}
        for position, item in enumerate(value):
            before = named.get(node.item(item), ABSENT) if node.item else ABSENT
            yield from _check(node.items, item, before, f"{path}[{position}]")


def _node(schema: Document, path: str) -> _Node | None:
    rules = [_rule(rule, schema, f"{path}.{WORD}[{number}]") for number, rule in enumerate(schema.get(WORD) or ())]
    inner = {name: _node(field, f"{path}.{name}") for name, field in (schema.get("properties") or {}).items()}
    fields = {name: node for name, node in inner.items() if node}
    additional, items = schema.get("additionalProperties"), schema.get("items")
    others = _node(additional, f"{path}.*") if isinstance(additional, dict) else None
    each = _node(items, f"{path}.items") if isinstance(items, dict) else None
    if not (rules or fields or others or each):
        return None
    below = [inner for inner in (*fields.values(), others, each) if inner]
    on_change = any(rule.on_change for rule in rules) or any(inner.on_change for inner in below)
    return _Node(schema, rules, fields, others, each, item_element(schema), on_change)


def _rule(rule: Document, schema: Document, path: str) -> _Rule:
    text = rule["rule"]
    reason = rule.get("reason") or "FieldValueInvalid"
    if reason not in _MESSAGES:
        raise ValueError(f"{path}.reason: unsupported value {reason!r}")
    _check_fields(text, schema, path)
    message = rule.get("message") or f"failed rule: {text.strip()}"
    makes = _compile(rule["messageExpression"], "STRING", path) if rule.get("messageExpression") else None

    def said(self: Any, old: Any) -> str:
        made = makes(self, old) if makes else None
        return made if isinstance(made, str) and made.strip() and not made.startswith(_FAILED) else message

    return _Rule(
        holds=_compile(text, "BOOL", path),
        said=said,
        on_change=re.search(r"\boldSelf\b", text) is not None,
        reason=reason,
        path=rule.get("fieldPath", ""),
        type=schema.get("type", "value"),
    )


def _check_fields(text: str, schema: Document, path: str) -> None:
    """The engine knows no schema, so what `self` has is looked up here."""
    if not schema.get("properties") or schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    known = {_escaped(name) for name in schema["properties"]} | {"apiVersion", "kind", "metadata"}
    for name in _FIELD.findall(re.sub(r"'[^']*'|\"[^\"]*\"", "''", text)):
        if name not in known:
            raise ValueError(f"{path}.rule: compilation failed: undefined field '{name}'")


_FAILED = "rule evaluation error: "


@lru_cache(maxsize=1)
def _environment() -> Any:
    from cel_expr_python import cel
    from cel_expr_python.ext import ext_math, ext_strings

    variables = dict.fromkeys(("self", "oldSelf"), cel.Type.DYN)
    return cel.NewEnv(variables=variables, extensions=[ext_math.ExtMath(), ext_strings.ExtStrings()])


def _compile(text: str, wanted: str, path: str) -> Compiled:
    """A function of self and oldSelf to the value, or to a sentence that says why there is none."""
    if len(text) > MAX_LENGTH:
        raise ValueError(f"{path}.rule: too long: at most {MAX_LENGTH} characters")
    try:
        compiled = _environment().compile(text)
    except RuntimeError as error:
        raise ValueError(f"{path}.rule: compilation failed: {str(error)[:300]}") from error
    kind = compiled.return_type().name()
    if kind not in (wanted, "DYN"):
        raise ValueError(f"{path}.rule: must evaluate to a {wanted.lower()}")

    def evaluate(self: Any, old: Any) -> Any:
        data = {"self": self} if old is ABSENT else {"self": self, "oldSelf": old}
        try:
            found = compiled.eval(data=data)
        except RuntimeError as error:
            return f"{_FAILED}{str(error)[:300]}"
        return found.plain_value() if found.type().name() == wanted else f"{_FAILED}{str(found.plain_value())[:300]}"

    return evaluate


@lru_cache(maxsize=1024)
def _escaped(name: str) -> str:
    """A field's name as CEL has it: https://kubernetes.io/docs/reference/using-api/cel/#escaping"""
    if _RESERVED.fullmatch(name):
        return f"__{name}__"
    return re.sub(r"__|[.\-/]", lambda found: _ESCAPES[found[0]], name)


def _typed(value: Any, schema: Document) -> Any:
    """The value with numbers as the schema types them and declared names as CEL can say them."""
    if isinstance(value, dict):
        declared = schema.get("properties") or {}
        return {
            _escaped(name) if name in declared else name: _typed(item, child(schema, name))
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_typed(item, schema.get("items") or {}) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"integer": int, "number": float}.get(schema.get("type", ""), type(value))(value)
    return value
