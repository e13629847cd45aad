"""What Kubernetes lets names, labels and keys be, in its words. Pure.

The rules are those of k8s.io/apimachinery: `api/validate/content` and `api/validation/objectmeta.go`.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from services.sandbox.errors import Cause, Document

MOST_ANNOTATED = 256 * 1024  # bytes, names and values together


class Form(NamedTuple):
    """What a text may look like, its longest length, and how that is told."""

    pattern: str
    longest: int
    said: str
    examples: tuple[str, ...]

    def misfits(self, text: str) -> list[str]:
        """What is wrong with a text."""
        wrong = [f"must be no more than {self.longest} bytes"] if len(text.encode()) > self.longest else []
        if not re.fullmatch(self.pattern, text, re.ASCII):
            examples = " or ".join(f"'{example}', " for example in self.examples)
            wrong.append(f"{self.said} (e.g. {examples}regex used for validation is '{self.pattern}')")
        return wrong


_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_KEY = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_ENDS = "and must start and end with an alphanumeric character"
_LETTERS = "consist of alphanumeric characters, '-', '_' or '.'"
LABEL = Form(
    _LABEL,
    63,
    f"a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', {_ENDS}",
    ("my-name", "123-abc"),
)
SUBDOMAIN = Form(
    rf"{_LABEL}(\.{_LABEL})*",
    253,
    f"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', {_ENDS}",
    ("example.com",),
)
CONFIG_KEY = Form("[-._a-zA-Z0-9]+", 253, f"a valid config key must {_LETTERS}", ("key.name", "KEY_NAME", "key-name"))
LABEL_VALUE = Form(
    f"({_KEY})?",
    63,
    f"a valid label must be an empty string or {_LETTERS}, {_ENDS}",
    ("MyValue", "my_value", "12345"),
)
_LABEL_NAME = Form(_KEY, 63, f"must {_LETTERS}, {_ENDS}", ("MyName", "my.name", "123-abc"))


@lru_cache(maxsize=1024)  # most objects have the same ones
def label_key(key: str) -> tuple[str, ...]:
    """What is wrong with the name of a label or an annotation: `[prefix/]name`."""
    prefix, slash, name = key.partition("/")
    if "/" in name:
        (said,) = _LABEL_NAME._replace(longest=len(key.encode())).misfits("")
        return (f"a valid label key {said} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",)
    if not slash:
        prefix, name = "", key
    wrong = [f"prefix part {each}" for each in (SUBDOMAIN.misfits(prefix) if prefix else ["must be non-empty"])]
    empty = [] if name else ["name part must be non-empty"]
    return (*(wrong if slash else ()), *empty, *(f"name part {each}" for each in _LABEL_NAME.misfits(name)))


def invalid(field: str, value: str, wrong: Iterable[str]) -> Iterator[Cause]:
    """A cause for everything that is wrong with a text."""
    for each in wrong:
        yield Cause.invalid(field, f'"{value[:1000]}": {each}')


def metadata_causes(metadata: Document) -> list[Cause]:
    """What no object can have in its metadata. What is of another type than it should be, the schema tells."""
    labels, annotations = (_if(dict, metadata.get(field)) for field in ("labels", "annotations"))
    found: list[Cause] = []
    for name, value in labels.items():
        found += invalid("metadata.labels", name, label_key(name))
        found += invalid("metadata.labels", str(value), LABEL_VALUE.misfits(str(value)))
    for name in annotations:
        found += invalid("metadata.annotations", name, label_key(name.lower()))
    for name in _if(list, metadata.get("finalizers")):
        found += invalid("metadata.finalizers", str(name), label_key(str(name)))
    if sum(len(name) + len(str(value)) for name, value in annotations.items()) > MOST_ANNOTATED:
        said = f"Too long: may not be more than {MOST_ANNOTATED} bytes"
        found.append(Cause("FieldValueTooLong", "metadata.annotations", said))
    references = [each for each in _if(list, metadata.get("ownerReferences")) if isinstance(each, dict)]
    return [*found, *_owner_causes(references)]


def _if(kind: Any, value: Any) -> Any:
    """The value if it is of this type, else an empty one."""
    return value if isinstance(value, kind) else kind()


def _owner_causes(references: list[Document]) -> Iterator[Cause]:
    for reference in references:
        for name in ("apiVersion", "kind", "name", "uid"):
            if reference.get(name) == "":
                said = "version must not be empty" if name == "apiVersion" else "must not be empty"
                yield from invalid(f"metadata.ownerReferences.{name}", "", [said])
    controllers = [f"{each.get('kind')}/{each.get('name')}" for each in references if each.get("controller") is True]
    for other in controllers[1:]:
        said = 'Only one reference can have Controller set to true. Found "true" in references for'
        yield Cause.invalid("metadata.ownerReferences", f"{said} {controllers[0]} and {other}")
