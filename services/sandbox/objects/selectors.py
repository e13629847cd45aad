"""Label and field selectors in Kubernetes' syntax, compiled to predicates; what is none is refused in its words.

The grammar is that of k8s.io/apimachinery: `pkg/labels/selector.go` and `pkg/fields/selector.go`.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from services.sandbox.errors import bad_request
from services.sandbox.schemas.names import LABEL_VALUE, label_key

LabelMatch = Callable[[Mapping[str, str]], bool]
FieldMatch = Callable[[Any], bool]

ALWAYS = ("metadata.name", "metadata.namespace")
MAX_LENGTH = 16_384
_WORD = re.compile(r"==|!=|[=!(),<>]|[^\s=!(),<>]+")
_SYMBOLS = frozenset({"", "==", "!=", "=", "!", "(", ")", ",", "<", ">"})  # the empty one is the end
_OPERATORS = {"in": "in", "notin": "notin", "=": "=", "==": "==", "!=": "!=", ">": "gt", "<": "lt"}  # and as told
_FIELD_TERM = re.compile(r"(?P<path>.*?)(?P<operator>!=|==|=)(?P<value>.*)", re.DOTALL)


def labels(selector: str) -> LabelMatch | None:
    """A predicate over labels, none for the empty selector. Raises ApiError 400 on bad syntax."""
    if len(selector) > MAX_LENGTH:
        raise bad_request("the label selector is too long")
    terms = _LabelTerms(_WORD.findall(selector)).read()
    return (lambda found: all(term(found) for term in terms)) if terms else None


class _LabelTerms:
    """Reads the words of a label selector, which are consumed from their end."""

    def __init__(self, words: list[str]) -> None:
        self._words = ["", *reversed(words)]

    def _take(self) -> str:
        return self._words.pop() if len(self._words) > 1 else ""

    def read(self) -> list[LabelMatch]:
        terms: list[LabelMatch] = []
        while (word := self._words[-1]) != "":
            if word in _SYMBOLS and word != "!":
                raise bad_request(_found(word, "!, identifier, or 'end of string'"))
            terms.append(self._term())
            if (word := self._take()) not in ("", ","):
                raise bad_request(_found(word, "',' or 'end of string'"))
            after = self._words[-1]
            if word == "," and after in _SYMBOLS and after != "!":
                raise bad_request(_found(after, "identifier after ','"))
        return terms

    def _term(self) -> LabelMatch:
        key = self._take()
        absent = key == "!"
        key = self._take() if absent else key
        if key in _SYMBOLS:
            raise _unread(_found(key, "identifier"))
        if wrong := label_key(key):
            raise _unread(f'<nil>: Invalid value: "{key}": {"; ".join(wrong)}')
        if self._words[-1] in ("", ","):
            return lambda found: (key in found) is not absent
        if (operator := self._take()) not in _OPERATORS:
            raise _unread(_found(operator, ", ".join(_OPERATORS.values())))
        values = self._values() if operator in ("in", "notin") else [self._value()]
        for position, value in enumerate(values):
            if misfits := LABEL_VALUE.misfits(value):
                raise _unread(f'values[{position}][{key}]: Invalid value: "{value}": {"; ".join(misfits)}')
        if operator in ("<", ">"):
            return _ordered(key, operator, values[0])
        return lambda found: (found.get(key) in values) is (operator in ("=", "==", "in"))

    def _value(self) -> str:
        if self._words[-1] in ("", ","):
            return ""
        if (value := self._take()) in _SYMBOLS:
            raise _unread(_found(value, "identifier"))
        return value

    def _values(self) -> list[str]:
        if (word := self._take()) != "(":
            raise _unread(f"found '{word}' expected: '('")
        values = {""} if self._words[-1] in (",", ")") else set()
        while (word := self._take()) != ")":
            if word in _SYMBOLS - {","}:
                raise _unread(_found(word, "',', ')' or identifier"))
            if word != ",":
                values.add(word)
                if self._words[-1] not in (",", ")"):
                    raise _unread(_found(self._words[-1], "',' or ')'"))
            elif self._words[-1] in (",", ")"):
                values.add("")
        return sorted(values)


def _ordered(key: str, operator: str, text: str) -> LabelMatch:
    if not re.fullmatch(r"[-+]?\d{1,18}", text):
        said = "for 'Gt', 'Lt' operators, the value must be an integer"
        raise _unread(f'values[0]: Invalid value: "{text}": {said}')
    bound, sign = int(text), 1 if operator == ">" else -1

    def matches(found: Mapping[str, str]) -> bool:
        value = found.get(key, "")
        return bool(re.fullmatch(r"[-+]?\d{1,18}", value)) and (int(value) - bound) * sign > 0

    return matches


def _found(word: str, expected: str) -> str:
    return f"found '{word}', expected: {expected}"


def _unread(why: str) -> Exception:
    return bad_request(f"unable to parse requirement: {why}")


def fields(selector: str, selectable: tuple[str, ...], *, custom: bool) -> FieldMatch | None:
    """A predicate over whole objects: `path=value` and `path!=value`, joined by commas; absent counts as empty.
    Raises ApiError 400 on bad syntax and for paths that are not selectable."""
    if len(selector) > MAX_LENGTH:
        raise bad_request("the field selector is too long")
    terms = [_field_term(term, selector) for term in re.findall(r"(?:\\.|[^,])+", selector)]
    for path, _, _ in terms:
        if path not in (*ALWAYS, *selectable):
            if custom or selectable:
                raise bad_request(f"field label not supported: {path}")
            only = ", ".join(f'"{each}"' for each in ALWAYS)
            raise bad_request(f'"{path}" is not a known field selector: only {only}')

    def matches(document: Any) -> bool:
        return all((_text(document, path.split(".")) == value) is wanted for path, value, wanted in terms)

    return matches if terms else None


def _field_term(term: str, selector: str) -> tuple[str, str, bool]:
    """Path, value, and whether they are to be equal."""
    match = _FIELD_TERM.fullmatch(term)
    if match is None:
        raise bad_request(f"invalid selector: '{selector}'; can't understand '{term}'")
    if bare := re.search(r"[,=]", re.sub(r"\\.", "", match["value"])):
        raise bad_request(f"invalid field selector: unescaped character in value: {ord(bare[0])}")
    return match["path"], re.sub(r"\\(.)", r"\1", match["value"]), match["operator"] != "!="


def _text(document: Any, path: list[str]) -> str:
    for part in path:
        document = document.get(part, "") if isinstance(document, dict) else ""
    return str(document)
