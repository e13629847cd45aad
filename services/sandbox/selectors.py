"""Label and field selectors in Kubernetes' syntax, compiled to predicates."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from services.sandbox.errors import bad_request

LabelMatch = Callable[[Mapping[str, str]], bool]
FieldMatch = Callable[[Any], bool]

_ALWAYS = ("metadata.name", "metadata.namespace")
MAX_LENGTH = 16_384
_NAME = r"(?P<name>[A-Za-z0-9][-A-Za-z0-9_./]{0,315})"
_VALUE = r"[A-Za-z0-9][-A-Za-z0-9_.]{0,62}"
_LABEL_TERMS = (
    re.compile(rf"{_NAME}\s*(?:==|=|(?P<not>!=))\s*(?P<value>(?:{_VALUE})?)"),
    re.compile(rf"{_NAME}\s+(?:in|(?P<not>notin))\s*\((?P<values>[^()]*)\)"),
    re.compile(rf"(?P<not>!?)\s*{_NAME}"),
)
_FIELD_TERM = re.compile(r"(?P<path>[\w.\-/]+)(?:==|=|(?P<not>!=))(?P<value>.*)")


def labels(selector: str) -> LabelMatch | None:
    """A predicate over labels, none for the empty selector. Raises ApiError 400 on bad syntax."""
    if not selector.strip():
        return None
    if len(selector) > MAX_LENGTH:
        raise bad_request("the label selector is too long")
    terms = [_label_term(term.strip(), selector) for term in re.split(r",(?![^()]*\))", selector)]
    return lambda found: all(term(found) for term in terms)


def _label_term(term: str, selector: str) -> LabelMatch:
    match = next((match for pattern in _LABEL_TERMS if (match := pattern.fullmatch(term))), None)
    if match is None:
        raise bad_request(f"unable to parse requirement in label selector {selector[:200]!r}")
    parts = match.groupdict()
    name, wanted = parts["name"], not parts["not"]
    if "value" not in parts and "values" not in parts:
        return lambda found: (name in found) is wanted
    values = [parts["value"]] if "value" in parts else [value.strip() for value in parts["values"].split(",")]
    return lambda found: (found.get(name) in values) is wanted


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
    match = _FIELD_TERM.fullmatch(term)
    if not match:
        raise bad_request(f"invalid field selector: {term[:200]!r}")
    if match["path"] not in selectable:
        raise bad_request(f"field label not supported: {match['path'][:200]}")
    path, value, wanted = match["path"].split("."), match["value"], not match["not"]

    def matches(document: Any) -> bool:
        for part in path:
            document = document.get(part, "") if isinstance(document, dict) else ""
        return (str(document) == value) is wanted

    return matches
