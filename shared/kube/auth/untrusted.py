"""YAML out of which credentials are read: from our own files, and from tenants' Secrets, which may be hostile.

PyYAML's C loader builds a document by recursion in C, without a bound: 200 KB of `[` end the process, not the call. So
a stranger's text is read as a stream of events first, which needs no recursion, and what no kubeconfig has is refused.
"""

from typing import Any, Final

import yaml

LARGEST: Final = 256 << 10  # bytes (or characters) of a stranger's text
DEEPEST: Final = 32  # levels of nesting; a kubeconfig has seven
MOST_EVENTS: Final = 10_000  # nodes, and ends of them; a kubeconfig of one user has about fifty

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class DocumentError(ValueError):
    """The text is not YAML that we read. The message says why and where, and quotes nothing of it."""


class _PlainLoader(_Loader):  # type: ignore[misc]  # which of the two it is, is known at run time only
    """Knows mappings, lists, text, booleans and null. Dates and numbers stay text: some of them fail to be made."""


_PlainLoader.yaml_implicit_resolvers = {
    first: kept
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
    if (kept := [each for each in resolvers if each[0] in {"tag:yaml.org,2002:bool", "tag:yaml.org,2002:null"}])
}


def load_trusted(text: bytes | str) -> Any:
    """The document in a file of our own. Raises DocumentError."""
    return _load(text, _Loader)


def load_untrusted(text: bytes | str) -> Any:
    """The document in a stranger's text: mappings, lists, str, bool and None. Raises DocumentError.

    No anchors, aliases or tags; within `LARGEST`, `DEEPEST` and `MOST_EVENTS`.
    """
    if len(text) > LARGEST:
        raise DocumentError(f"is larger than {LARGEST >> 10} KiB")
    try:
        _check(text)
    except yaml.YAMLError as error:
        raise _not_yaml(error) from None
    return _load(text, _PlainLoader)


def _load(text: bytes | str, loader: Any) -> Any:
    try:
        return yaml.load(text, Loader=loader)  # noqa: S506 - a safe loader, the C one where it was built
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that is none, a huge number
        raise _not_yaml(error) from None


def _check(text: bytes | str) -> None:
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if count >= MOST_EVENTS:
            raise DocumentError("has too many values")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise DocumentError("has anchors or aliases, which a kubeconfig given as text may not")
        if getattr(event, "tag", None) is not None:
            raise DocumentError("has tags, which a kubeconfig given as text may not")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            raise DocumentError("is nested too deeply")


def _not_yaml(error: Exception) -> DocumentError:
    """Without its cause, which would quote the text, tokens included."""
    mark = getattr(error, "problem_mark", None)
    return DocumentError(f"is not YAML{f', line {mark.line + 1}' if mark else ''}")
