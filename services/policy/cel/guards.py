"""Bounds on an expression's text, checked in one pass before any parser sees it.

celpy's grammar needs this: an unterminated string with backslashes costs its lexer time exponential in their number,
and every level of nesting costs some fifty Python frames.
"""

from services.policy.language.diagnostics import Diagnostic

MAX_LENGTH = 16_384
"""Characters of one expression; the API's schema says the same."""

MAX_NESTING = 24
"""Open brackets at any place. CEL asks implementations for at least 12."""

MAX_TOKENS = 3_000
"""Names, numbers, strings and signs of one expression; each costs the parser some 50 microseconds."""

_OPENING = {"(": ")", "[": "]", "{": "}"}
_CLOSING = {closing: opening for opening, closing in _OPENING.items()}


def scan(text: str) -> Diagnostic | None:
    """The first thing about the text that no parser should be bothered with, or None."""
    if len(text) > MAX_LENGTH:
        return Diagnostic(1, 1, f"the expression has {len(text)} characters, at most {MAX_LENGTH} are allowed")
    if not text.strip():
        return Diagnostic(1, 1, "the expression is empty")
    open_brackets: list[int] = []
    at = tokens = 0
    while at < len(text):
        character = text[at]
        tokens += _begins_token(text, at)
        if tokens > MAX_TOKENS:
            return _at(text, at, f"more than {MAX_TOKENS} names, numbers, strings and signs")
        if character in "\"'":
            end = _end_of_string(text, at)
            if end is None:
                return _at(text, at, "the string is not terminated")
            at = end
            continue
        if text.startswith("//", at):
            newline = text.find("\n", at)
            at = len(text) if newline < 0 else newline
            continue
        if character in _OPENING:
            open_brackets.append(at)
            if len(open_brackets) > MAX_NESTING:
                return _at(text, at, f"nested deeper than {MAX_NESTING} levels")
        elif character in _CLOSING and (not open_brackets or text[open_brackets.pop()] != _CLOSING[character]):
            return _at(text, at, f"`{character}` closes nothing")
        at += 1
    if open_brackets:
        opening = open_brackets[-1]
        return _at(text, opening, f"`{text[opening]}` is never closed")
    return None


def _begins_token(text: str, at: int) -> bool:
    """True if a token begins here: a sign, or a word that does not go on from the character before."""
    if text[at].isspace():
        return False
    return not _in_word(text[at]) or at == 0 or not _in_word(text[at - 1])


def _in_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _end_of_string(text: str, start: int) -> int | None:
    """Index just behind the string literal that starts at `start`, or None where it is not terminated."""
    quote = text[start] * 3 if text.startswith(text[start] * 3, start) else text[start]
    raw = start > 0 and _is_raw_prefix(text, start)
    at = start + len(quote)
    while at < len(text):
        if text.startswith(quote, at):
            return at + len(quote)
        if len(quote) == 1 and text[at] in "\r\n":
            return None
        at += 2 if text[at] == "\\" and not raw else 1
    return None


def _is_raw_prefix(text: str, start: int) -> bool:
    """True if the quote at `start` has a prefix with `r`: `r"`, `br"`; not the end of a longer name."""
    prefix = ""
    at = start - 1
    while at >= 0 and _in_word(text[at]):
        prefix = text[at] + prefix
        at -= 1
    return prefix.lower() in {"r", "br", "rb"}


def _at(text: str, index: int, message: str) -> Diagnostic:
    before = text[:index]
    return Diagnostic(before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1, message)
