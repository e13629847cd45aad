"""Documents of YAML as values, of files that anybody may have written."""

from typing import Any

import yaml

DEEPEST = 200
"""Levels of nesting. PyYAML's C loader recurses in C, without a bound: a hundred thousand would end the process."""
MOST_BITS = 1000
"""In an integer; the largest float has some more."""
MOST_NODES = 10_000_000
"""In one document, its aliases written out: a few hundred bytes of them can stand for billions."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _ManifestLoader(_Loader):  # type: ignore[misc]  # which of the two it is, is known at run time only
    """Leaves times as text, as Kubernetes has them."""


_ManifestLoader.yaml_implicit_resolvers = {
    first: [each for each in resolvers if each[0] != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def _integer(loader: Any, node: yaml.ScalarNode) -> int:
    """In hexadecimal, octal and binary Python reads integers of any length, which it refuses to write or to compare."""
    value: int = loader.construct_yaml_int(node)
    if value.bit_length() > MOST_BITS:
        raise ValueError(f"line {node.start_mark.line + 1}: a number of more than {MOST_BITS} bits")
    return value


_ManifestLoader.add_constructor("tag:yaml.org,2002:int", _integer)


def parsed(text: str) -> list[Any]:
    """The documents of a text. Raises ValueError for one that is no YAML, too deep, or too large."""
    try:
        _check(text)
        return list(yaml.load_all(text, _ManifestLoader))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _check(text: str) -> None:
    """Raises yaml.YAMLError for a text that is nested too deeply, or too large with its aliases written out."""
    anchored: dict[str, int] = {}
    parts: list[tuple[str | None, int]] = []
    nodes = 0
    for event in yaml.parse(text, _Loader):
        match event:
            case yaml.DocumentStartEvent():
                nodes = 0
                anchored.clear()
            case yaml.CollectionStartEvent():
                parts.append((event.anchor, nodes))
                nodes += 1
            case yaml.CollectionEndEvent():
                anchor, before = parts.pop()
                if anchor:
                    anchored[anchor] = nodes - before
            case yaml.ScalarEvent():
                nodes += 1
                if event.anchor:
                    anchored[event.anchor] = 1
            case yaml.AliasEvent():
                if event.anchor not in anchored:
                    raise yaml.YAMLError(f"alias {event.anchor} stands for what it is part of, or for nothing")
                nodes += anchored[event.anchor]
        if len(parts) > DEEPEST or nodes > MOST_NODES:
            line = event.start_mark.line + 1 if event.start_mark else 0
            raise yaml.YAMLError(f"is nested too deeply, or too large with its aliases, from line {line} on")
