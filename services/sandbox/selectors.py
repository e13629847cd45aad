"""Label and field selectors in Kubernetes' syntax, compiled to predicates."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from services.sandbox.errors import bad_request

Labels = Mapping[str, str]
LabelMatch = Callable[[Labels], bool]
FieldMatch = Callable[[Any], bool]

_ALWAYS = ("metadata.name", "metadata.namespace")
MAX_LENGTH = 16_384
_NAME = r"[A-Za-z0-9](?:[-A-Za-z0-9_./]{0,315})"
_VALUE = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,62})"
_EQUALS = re.compile(rf"({_NAME})\s*(==|=|!=)\s*({_VALUE})?")
_SET = re.compile(rf"({_NAME})\s+(in|notin)\s*\(([^()]*)\)")
_EXISTS = re.compile(rf"(!?)\s*({_NAME})")
_FIELD = re.compile(r"([\w.\-/]+)(==|=|!=)(.*)")


def labels(selector: str) -> LabelMatch | None:
    """A predicate over labels, none for the empty selector. Raises ApiError 400 on bad syntax."""
    if not selector.strip():
        return None
    if len(selector) > MAX_LENGTH:
        raise bad_request("the label selector is too long")
    terms = [_label_term(term.strip(), selector) for term in _split(selector)]
    return lambda found: all(term(found) for term in terms)


def _split(selector: str) -> list[str]:
    """Comma-separated terms, where commas within parentheses separate values."""
    terms, depth, start = [], 0, 0
    for position, character in enumerate(selector):
        if character == "," and depth == 0:
            terms.append(selector[start:position])
            start = position + 1
        depth += {"(": 1, ")": -1}.get(character, 0)
    return [*terms, selector[start:]]


def _label_term(term: str, selector: str) -> LabelMatch:
    if match := _EQUALS.fullmatch(term):
        name, operator, value = match[1], match[2], match[3] or ""
        if operator == "!=":
            return lambda found: found.get(name) != value
        return lambda found: found.get(name) == value
    if match := _SET.fullmatch(term):
        name, values = match[1], frozenset(value.strip() for value in match[3].split(","))
        if match[2] == "notin":
            return lambda found: found.get(name) not in values
        return lambda found: found.get(name) in values
    if match := _EXISTS.fullmatch(term):
        name = match[2]
        if match[1]:
            return lambda found: name not in found
        return lambda found: name in found
    raise bad_request(f"unable to parse requirement in label selector {selector[:200]!r}")


def fields(selector: str, selectable: tuple[str, ...]) -> FieldMatch | None:
    """A predicate over whole objects: `path=value` and `path!=value`, joined by commas; absent counts as empty.
    Raises ApiError 400 on bad syntax and for paths that are not selectable."""
    if not selector.strip():
        return None
    if len(selector) > MAX_LENGTH:
        raise bad_request("the field selector is too long")
    terms = [_field_term(term.strip(), (*_ALWAYS, *selectable)) for term in selector.split(",")]
    return lambda found: all(term(found) for term in terms)


def _field_term(term: str, selectable: tuple[str, ...]) -> FieldMatch:
    match = _FIELD.fullmatch(term)
    if not match:
        raise bad_request(f"invalid field selector: {term[:200]!r}")
    if match[1] not in selectable:
        raise bad_request(f"field label not supported: {match[1][:200]}")
    path, value, equal = match[1].split("."), match[3], match[2] != "!="

    def matches(document: Any) -> bool:
        for part in path:
            document = document.get(part, "") if isinstance(document, dict) else ""
        text = document if isinstance(document, str) else str(document)
        return (text == value) is equal

    return matches
