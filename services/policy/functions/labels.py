"""`hasLabel`: whether a target carries a label, and which value."""

from collections.abc import Mapping
from typing import Any

from services.policy.functions.function import Function


def has_label(target: Mapping[str, Any], key: str, value: str | None = None) -> bool:
    """True if the label is there and, where a value is given, has that value. Never an error."""
    labels = target["labels"]
    return key in labels and (value is None or labels[key] == value)


HAS_LABEL = Function(
    name="hasLabel",
    overloads=(("Target", "string"), ("Target", "string", "string")),
    result="bool",
    call=has_label,
    description="Whether the target has the label, and the value where one is given; false, not an error, where not",
    example='target.hasLabel("moorage.io/provider", "aws")',
    reads=("labels",),
    key=1,
    shortcut=lambda target, key, value=None: key in target.labels and (value is None or target.labels[key] == value),
)
