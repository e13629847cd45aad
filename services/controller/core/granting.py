"""Which PolicyExceptions are in force, and what each says of itself. Pure."""

from collections.abc import Iterable
from typing import Final, Literal

from shared.api import PlacementPolicySpec, PolicyException, PolicyExceptionStatus, set_condition
from shared.hub.holding import by_labels
from shared.kube.times import seconds
from shared.model.policy import Exemption

IN_FORCE: Final = "InForce"
MOST_EXEMPTIONS: Final = 64
"""Exemptions from one policy that count at a time, the first by name."""


def exemption_of(exception: PolicyException) -> Exemption:
    """What is granted. A time that cannot be read is long past."""
    return Exemption(name=exception.metadata.name, expires=seconds(exception.spec.expires_at), spec=exception.spec)


def in_force(granted: Iterable[PolicyException], now: float) -> tuple[Exemption, ...]:
    """The exemptions from one policy that count, of all that were granted. `now`: seconds since the epoch."""
    found = sorted(map(exemption_of, granted), key=lambda each: each.name)
    return tuple(each for each in found if each.expires > now and not by_labels(each.spec.match))[:MOST_EXEMPTIONS]


def status_of(
    exception: PolicyException,
    policy: PlacementPolicySpec | None,
    granted: Iterable[PolicyException],
    author: str,
    now: float,
    written: str,
) -> PolicyExceptionStatus:
    """What an exception says of itself; the same as before where nothing changed.

    `policy` is the one that it names, None where there is none, and `granted` are all exceptions from it; `author` is
    empty where nobody is recorded; `written` is `now` in RFC 3339.
    """
    generation = exception.metadata.generation
    counts = any(each.name == exception.metadata.name for each in in_force(granted, now))
    status, reason, message = _judged(exception, policy, counts, now)
    granter = f"Granted by {author}." if author else "Nobody is recorded who granted it."
    conditions = set_condition(
        exception.status.conditions, IN_FORCE, status, reason, f"{message} {granter}", written, generation
    )
    return PolicyExceptionStatus(observed_generation=generation, conditions=conditions)


def _judged(
    exception: PolicyException, policy: PlacementPolicySpec | None, counts: bool, now: float
) -> tuple[Literal["True", "False"], str, str]:
    spec = exception.spec
    if exemption_of(exception).expires <= now:
        return "False", "Expired", f"It ended at {spec.expires_at}."
    if by_labels(spec.match):
        return "False", "ByLabels", "Labels of workspaces and namespaces make nobody exempt: name them."
    if policy is None:
        return "False", "NoPolicy", f"There is no PlacementPolicy {spec.policy} in its workspace."
    if not counts:
        return (
            "False",
            "TooMany",
            f"More than {MOST_EXEMPTIONS} are granted from {spec.policy}: the first count.",
        )
    if policy.enforcement == "DryRun":
        return "False", "OnTrial", f"{spec.policy} is DryRun: it decides nothing that anybody could be exempt from."
    known = {rule.name for rule in policy.rules}
    lacking = ", ".join(name for name in spec.rules if name not in known)
    if spec.rules and known.isdisjoint(spec.rules):
        return "False", "NoSuchRule", f"{spec.policy} has no rule {lacking}."
    if lacking:
        return "True", "InForceInPart", f"It counts until {spec.expires_at}; {spec.policy} has no rule {lacking}."
    return "True", "InForce", f"It counts until {spec.expires_at}."
