"""Literals as the CEL specification reads them, and as text again. Pure."""

import math
import re
from collections.abc import Callable

_ESCAPES = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "?": "?", '"': '"', "'": "'", "`": "`",
}  # fmt: skip
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|X[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2}|[\s\S])")
_INT = 2**63


def read_string(token: str) -> str:
    """The value of a string literal. Raises ValueError for an escape that there is not, and what is no character."""
    body, raw = _body(token)
    if raw:
        return body

    def unescaped(found: re.Match[str]) -> str:
        code = _code(found.group(1))
        if code is None:
            return _ESCAPES[found.group(1)]
        if 0xD800 <= code <= 0xDFFF or code > 0x10FFFF:
            raise ValueError("no character")
        return chr(code)

    return _all(body, unescaped)


def read_bytes(token: str) -> bytes:
    """The value of a literal with the prefix `b`. Raises ValueError as `read_string` does."""
    body, raw = _body(token[1:])
    if raw:
        return body.encode()

    def unescaped(found: re.Match[str]) -> str:
        code = found.group(1)
        if code[0] in "uU":
            raise ValueError("no escape of bytes")
        octet = _code(code)
        return _ESCAPES[code] if octet is None else chr(0xDC00 + octet)  # as `surrogateescape` writes octets

    text = _all(body, unescaped)
    return b"".join(bytes([ord(each) - 0xDC00]) if 0xDC00 <= ord(each) <= 0xDCFF else each.encode() for each in text)


def read_int(token: str) -> int:
    """A signed integer of 64 bits. Raises ValueError beyond them."""
    value = int(token, 16) if "x" in token else int(token)
    if not -_INT <= value < _INT:
        raise ValueError("out of range")
    return value


def read_uint(token: str) -> int:
    """An unsigned integer of 64 bits. Raises ValueError beyond them."""
    value = int(token[:-1], 16) if "x" in token else int(token[:-1])
    if not 0 <= value < 2 * _INT:
        raise ValueError("out of range")
    return value


def read_double(token: str) -> float:
    """A double. Raises ValueError where it is not finite."""
    value = float(token)
    if not math.isfinite(value):
        raise ValueError("out of range")
    return value


def write_string(value: str) -> str:
    """A literal of that value, in printable ASCII."""
    return '"' + "".join(map(_written, value)) + '"'


def write_bytes(value: bytes) -> str:
    """A literal of these octets."""
    return 'b"' + "".join(f"\\x{each:02x}" for each in value) + '"'


def _written(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    code = ord(character)
    if 0x20 <= code < 0x7F:
        return character
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _body(token: str) -> tuple[str, bool]:
    """What stands between the quotes, and whether backslashes are nothing special there."""
    raw = token[0] in "rR"
    text = token[1:] if raw else token
    quotes = 3 if len(text) >= 6 and text[:3] in ('"""', "'''") else 1
    return text[quotes:-quotes], raw


def _code(escape: str) -> int | None:
    """The number that an escape names; None for one that names a character by a letter."""
    if len(escape) == 1:
        if escape not in _ESCAPES:
            raise ValueError("no escape")
        return None
    return int(escape, 8) if escape[0] in "0123" else int(escape[1:], 16)


def _all(body: str, unescaped: Callable[[re.Match[str]], str]) -> str:
    return _ESCAPE.sub(unescaped, body)
