"""`hasLabel`: whether a target carries a label, and which value."""

from collections.abc import Callable, Mapping
from typing import Any

from services.policy.functions.function import Function
from shared.model.target import Target


def has_label(target: Mapping[str, Any], key: str, value: str | None = None) -> bool:
    """True if the label is there and, where a value is given, has that value. Never an error."""
    labels = target["labels"]
    return key in labels and (value is None or labels[key] == value)


def _shortcut(key: str, value: str | None = None) -> Callable[[Target], bool]:
    if value is None:
        return lambda target: key in target.labels
    return lambda target: target.labels.get(key) == value


HAS_LABEL = Function(
    name="hasLabel",
    overloads=(("Target", "string"), ("Target", "string", "string")),
    result="bool",
    call=has_label,
    description="Whether the target has the label, and the value where one is given; false, not an error, where not",
    example='target.hasLabel("moorage.io/provider", "aws")',
    reads=("labels",),
    key=1,
    shortcut=_shortcut,
)
