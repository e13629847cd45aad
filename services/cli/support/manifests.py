"""Manifests in files: YAML or JSON, several documents each, every object with where it was found."""

import contextlib
import errno
import re
import sys
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from shared.api import GROUP, KINDS

LISTS = frozenset({"List", *(f"{kind}List" for kind in KINDS)})
_JSON = msgspec.json.Decoder()
_SPACE = re.compile(r"\s*")
_MARK = "\ufeff"
"""A byte order mark. One may stand before each document, where files were joined."""
_MARKS = re.compile(f"^{_MARK}", re.MULTILINE)


def _no_json(constant: str) -> Any:
    """NaN and Infinity, which Python takes for JSON."""
    raise ValueError(constant)


class InvalidManifest(ValueError):
    """A file that cannot be used; the message names the file, the document and what is wrong."""


class Manifest(dict[str, Any]):
    """An object as it was written; `where` says in which document of which file."""

    def __init__(self, content: Mapping[str, Any], where: str) -> None:
        super().__init__(content)
        self.where = where


def read(path: str) -> list[Manifest]:
    """All objects of a file of YAML or JSON documents, lists unfolded; `-` is standard input.

    Raises `InvalidManifest`.
    """
    name = "standard input" if path == "-" else path
    try:
        text = _bytes(path).decode()
        if _MARK in text:
            text = _MARKS.sub("", text)
        documents = _json(text)
        if documents is None:
            from services.cli.support.documents import parsed  # PyYAML is imported by whoever has YAML

            documents = parsed(text)
    except OSError as error:
        raise InvalidManifest(f"{name}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InvalidManifest(f"{name}: is no text: byte {error.start} is not UTF-8") from None
    except ValueError as error:
        raise InvalidManifest(f"{name}: {' '.join(str(error).split())}") from None
    found = []
    for number, document in enumerate(documents, 1):
        where = f"{name}: document {number}" if len(documents) > 1 else name
        if isinstance(document, Mapping) and _is_list(document):
            items = document.get("items") or []
            found += [_object(_item(each, document), f"{where}, item {at}") for at, each in enumerate(items, 1)]
        elif document is not None:
            found.append(_object(document, where))
    return found


def _bytes(path: str) -> bytes:
    if path != "-":
        return Path(path).read_bytes()
    if sys.stdin is None:
        raise OSError(errno.EBADF, "is closed")
    return sys.stdin.buffer.read()


def _json(text: str) -> list[Any] | None:
    """The objects of a text that is JSON, one after the other, in a tenth of the time that YAML takes; else None."""
    at_once = _at_once(text)
    if at_once is not None:
        return at_once if all(isinstance(each, dict) for each in at_once) else None
    import json

    decoder = json.JSONDecoder(parse_constant=_no_json)
    found: list[Any] = []
    at = _start(text, 0)
    try:
        while at < len(text):
            if text[at] != "{":
                return None
            value, end = decoder.raw_decode(text, at)
            found.append(value)
            at = _start(text, end)
        if "\\ud" in text.lower():  # half of a surrogate pair is no text, and nobody could print it
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None  # YAML's reader says what is wrong, and where
    return found


def _at_once(text: str) -> list[Any] | None:
    """The values of a text of JSON that has one on each line, or one in all, in half the time; None for any other."""
    with contextlib.suppress(msgspec.DecodeError, RecursionError):
        return _JSON.decode_lines(text)
    with contextlib.suppress(msgspec.DecodeError, RecursionError):
        return [_JSON.decode(text)]
    return None


def _start(text: str, at: int) -> int:
    """Where the next value begins."""
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _is_list(document: Mapping[str, Any]) -> bool:
    items = document.get("items")
    return isinstance(items, list) or (items is None and document.get("kind") in LISTS)


def _item(content: Any, of: Mapping[str, Any]) -> Any:
    """An item of a list. As with kubectl, one without kind is of the list's: API servers send them so."""
    kind = of.get("kind")
    if not isinstance(content, Mapping) or "kind" in content or kind == "List" or not str(kind).endswith("List"):
        return content
    return {"apiVersion": of.get("apiVersion"), "kind": str(kind).removesuffix("List"), **content}


def _object(content: Any, where: str) -> Manifest:
    if not isinstance(content, Mapping) or not isinstance(content.get("kind"), str):
        raise InvalidManifest(f"{where}: is no Kubernetes object, since it has no kind")
    where_and_kind = f"{where}: {content['kind']}"
    metadata = content.get("metadata")
    if not isinstance(metadata, Mapping) or metadata.get("name") in (None, ""):
        raise InvalidManifest(f"{where_and_kind}: metadata.name must be given")
    for field in ("name", "namespace"):
        value = metadata.get(field) or ""
        if not isinstance(value, str):
            raise InvalidManifest(f"{where_and_kind}: metadata.{field} must be text: {_in_quotes(value)}")
        if "/" in value or not value.isprintable():
            raise InvalidManifest(f"{where_and_kind}: metadata.{field} {value!r} holds what no name can")
    for field in ("labels", "annotations"):
        pairs = metadata.get(field) or {}
        if not isinstance(pairs, Mapping):
            raise InvalidManifest(f"{where_and_kind}: metadata.{field} must map text to text")
        for part in chain.from_iterable(pairs.items()):
            if not isinstance(part, str):
                raise InvalidManifest(f"{where_and_kind}: metadata.{field} must map text to text: {_in_quotes(part)}")
    # As kubectl and API servers do, nothing is made of `spec:` or `labels:` with nothing behind it.
    found = Manifest(_given(content), where)
    found["metadata"] = _given(metadata)
    return found


def _in_quotes(value: Any) -> str:
    """YAML 1.1 reads yes, no, on and off as truth values, and 1_000 or 12:30 as numbers."""
    return f"put quotes around what is read as {value!r}"


def _given(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    if None not in fields.values():
        return fields
    return {name: value for name, value in fields.items() if value is not None}


def where(manifest: Mapping[str, Any]) -> str:
    """Where a manifest was found, for messages."""
    return getattr(manifest, "where", "a manifest")


def is_ours(manifest: Mapping[str, Any]) -> bool:
    """True if a manifest is of Moorage's API group: others have kinds of the same names."""
    return str(manifest.get("apiVersion", GROUP)).partition("/")[0] == GROUP


def of_kind(manifests: Iterable[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    """The manifests of one of Moorage's kinds."""
    return [each for each in manifests if each.get("kind") == kind and is_ours(each)]
