"""Subjects of the bus and keys of the state: what is a valid one, and which ones a filter covers."""

import functools
import re

LONGEST = 2048
"""Bytes. A broker drops the whole connection over a protocol line above 4096; a subject must leave room in it."""

_INVALID = re.compile(r"[\s\x00-\x1f\x7f*>]")
_INVALID_KEY = re.compile(r"[^-/_=.a-zA-Z0-9]")


def check_subject(subject: str) -> str:
    """The subject, if a message can be published on it; else `ValueError`."""
    if not is_subject(subject):
        raise ValueError(f"not a subject to publish on: {subject[:100]!r}")
    return subject


@functools.lru_cache(maxsize=1024)  # most of what is asked goes to the same few subjects
def is_subject(subject: str) -> bool:
    """True if a message can be published on this."""
    return "" not in subject.split(".") and not _INVALID.search(subject) and len(subject.encode()) <= LONGEST


def check_key(key: str) -> str:
    """The key, if a bucket can hold it; else `ValueError`."""
    if not key or "" in key.split(".") or _INVALID_KEY.search(key) or len(key) > LONGEST:
        raise ValueError(f"not a key: {key[:100]!r}")
    return key


def covers(pattern: str, subject: str) -> bool:
    """True if a filter (`*` stands for one token, a last `>` for one or more) covers a subject."""
    patterns, tokens = pattern.split("."), subject.split(".")
    if patterns[-1] == ">":
        patterns.pop()
        if len(tokens) <= len(patterns):
            return False
        tokens = tokens[: len(patterns)]
    return len(patterns) == len(tokens) and all(p in ("*", t) for p, t in zip(patterns, tokens, strict=True))


def below(prefix: str, key: str) -> bool:
    """True if a key lies below a prefix of whole tokens; the empty prefix is above every key."""
    return not prefix or key.startswith(prefix + ".")
