"""The diagnosis that a rule makes, and the reading of objects for it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from shared.api import Ending, Health
from shared.kube.text import told

Object = Mapping[str, Any]


class Diagnosis(NamedTuple):
    """Health of one object; `replicas` (wanted) and `ready` where the kind has any; and how it ran to its end."""

    health: Health
    message: str = ""
    replicas: int | None = None
    ready: int | None = None
    ended: Ending = ""


HEALTHY = Diagnosis("Healthy")


def mapping(obj: Object, *path: str) -> dict[str, Any]:
    """A nested mapping; empty where there is none."""
    found: Any = obj
    for step in path:
        found = found.get(step) if isinstance(found, Mapping) else None
    return found if isinstance(found, dict) else {}


def number(mapping: Mapping[str, Any], key: str, default: int = 0) -> int:
    """A whole number, `default` where there is none."""
    found = mapping.get(key)
    return found if isinstance(found, int) else default


def condition(obj: Object, type: str) -> dict[str, Any]:
    """The condition of that type; empty where there is none."""
    found = mapping(obj, "status").get("conditions")
    items = found if isinstance(found, list) else []
    return next((each for each in items if isinstance(each, dict) and each.get("type") == type), {})


def holds(obj: Object, type: str) -> bool:
    """True if a condition is True."""
    return condition(obj, type).get("status") == "True"


def said(condition: Mapping[str, Any], otherwise: str) -> str:
    """The words of a condition for people, within bounds: the target's owner may have written them."""
    found = condition.get("message") or condition.get("reason")
    return told(found) if isinstance(found, str) else otherwise
