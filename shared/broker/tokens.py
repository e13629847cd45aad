"""Escaping of names into NATS subject tokens and KV keys, in this one place.

Names (workspace paths, object names) may hold characters that a subject or a key may not: `.` separates tokens,
`:` is not allowed in a KV key. Every other byte than `A-Za-z0-9_-` becomes `=XX` (its UTF-8 bytes in hexadecimal).
"""

import functools
import re

_UNSAFE = re.compile(rb"[^A-Za-z0-9_-]")
_ESCAPED = re.compile(rb"=([0-9A-F]{2})")


@functools.lru_cache(10_000)  # the same few names again and again: it was 4 % of all that status does
def escape(name: str) -> str:
    """One name as one token: `root:team-a` becomes `root=3Ateam-a`; the empty name becomes `=`."""
    if not name:
        return "="
    return _UNSAFE.sub(lambda byte: b"=%02X" % byte.group()[0], name.encode()).decode()


@functools.lru_cache(10_000)
def unescape(token: str) -> str:
    """The name that `escape` made this token from."""
    if token == "=":  # noqa: S105 - the token of the empty name, not a password
        return ""
    return _ESCAPED.sub(lambda pair: bytes([int(pair.group(1), 16)]), token.encode()).decode()


@functools.lru_cache(10_000)
def join(*names: str) -> str:
    """Names as a dotted subject suffix or key: `join("root:a", "eu.1")` is `root=3Aa.eu=2E1`."""
    return ".".join(escape(name) for name in names)


def split(key: str) -> tuple[str, ...]:
    """The names that `join` made this key from."""
    return tuple(unescape(token) for token in key.split("."))
