"""Parameters of policies: what of an object rules see as `params`. Pure.

Its status, and metadata beyond names, labels and annotations, are left out: they change without anybody meaning it.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from shared.api import ParamRef
from shared.model.policy import Parameters

MOST_BYTES = 16 << 10
"""Bytes of an object, as JSON, that rules see."""

MOST_VALUES = 1_000
"""Values in it, lists and maps among them."""

NOT_READ = "Secrets are not read"

_METADATA = ("name", "namespace", "labels", "annotations")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def is_secret(ref: ParamRef) -> bool:
    """True for what no policy may see, whoever lets a reference to it be stored."""
    return ref.kind == "Secret" and ref.api_version.partition("/")[0] == ref.api_version


def parameters_of(obj: Mapping[str, Any], ref: ParamRef) -> Parameters:
    """The parameters that an object is, which a reference names."""
    if is_secret(ref):
        return Parameters(unusable=NOT_READ)
    metadata = {key: value for key, value in (obj.get("metadata") or {}).items() if key in _METADATA}
    if _LAST_APPLIED in (metadata.get("annotations") or {}):
        metadata["annotations"] = {k: v for k, v in metadata["annotations"].items() if k != _LAST_APPLIED}
    rest = {key: value for key, value in obj.items() if key not in ("metadata", "status", "apiVersion", "kind")}
    seen = {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": metadata, **rest}
    content = msgspec.json.encode(seen, order="deterministic")
    if len(content) > MOST_BYTES or _values(seen) > MOST_VALUES:
        return Parameters(unusable=f"{named(ref)} has more than {MOST_BYTES >> 10} KiB or {MOST_VALUES} values")
    return Parameters(content=content.decode())


def _values(value: Any) -> int:
    if isinstance(value, Mapping):
        return 1 + sum(map(_values, value.values()))
    return 1 + sum(map(_values, value)) if isinstance(value, list) else 1


def named(ref: ParamRef) -> str:
    """The object that a reference names, for messages."""
    return f"{ref.kind} {ref.namespace}/{ref.name}" if ref.namespace else f"{ref.kind} {ref.name}"
