"""Names and labels that several workers must agree on, within Kubernetes' limits."""

import hashlib

PLACEMENT_LABEL = "placement.moorage.io/placement"
"""On PlacementDecisions and PlacementBindings: the Placement that they belong to, as `label_value` of its name."""

REQUESTER_ANNOTATION = "placement.moorage.io/requester"
"""On Placements: who created them, as JSON with username and groups; stamped by the API server's admission."""

ATTEMPT_ANNOTATION = "placement.moorage.io/attempt"
"""On PlacementBindings: the attempt of the placement that they were last written for."""

FINALIZER = "placement.moorage.io/placed"
"""On Placements: nothing of theirs is placed any more once it is gone."""

SYSTEM_NAMESPACE = "moorage-system"
"""In target clusters: where the ApplySets of what was placed are."""

LABEL_LIMIT = 63
NAME_LIMIT = 253


def label_value(name: str) -> str:
    """A name as a label's value; one that is too long is cut and made unique by a digest."""
    return _cut(name, LABEL_LIMIT)


def binding_name(placement: str, target: str) -> str:
    """The name of the PlacementBinding of a placement in a target (by its id)."""
    return f"{_cut(placement, NAME_LIMIT - 9)}-{_digest(target)}"


def _cut(name: str, limit: int) -> str:
    return name if len(name) <= limit else f"{name[: limit - 9]}-{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
