"""The record of a policy: the findings of its check, and counts per rule. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from msgspec import structs

from shared.model.policy import PolicyCheck, PolicyEntry, PolicyFinding, RuleResult, RuleTally

MOST_FINDINGS = 16
"""Findings of one policy that are recorded; of the rest, how many they are."""

UNTOLD = PolicyFinding(
    rule="", message="its expressions could not be checked within the time and the memory that a check may take"
)
"""The one finding of a policy whose check did not come to its end."""

Identity = tuple[str, int]
"""Which object, and which state of its spec: uid and generation."""


def identity(of: PolicyEntry | PolicyCheck) -> Identity:
    """The state of a policy that its counts belong to: another object or another spec begins anew."""
    return of.uid, of.generation


def checked(policy: PolicyEntry, findings: Sequence[PolicyFinding] | None, before: PolicyCheck | None) -> PolicyCheck:
    """The record of a policy. No findings: it compiles; None: nobody can tell. `before` has its counts so far."""
    found = (UNTOLD,) if findings is None else tuple(findings)
    counts = before.counts if before else tuple(RuleTally(rule=rule.name) for rule in policy.spec.rules)
    return PolicyCheck(
        workspace=policy.workspace,
        name=policy.name,
        uid=policy.uid,
        generation=policy.generation,
        findings=found[:MOST_FINDINGS],
        more=max(0, len(found) - MOST_FINDINGS),
        counts=counts,
    )


@dataclass
class Tally:
    """Counts of the rules of one state of a policy: evaluated, matched, errors by rule."""

    identity: Identity
    rules: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    def add(self, rule: str, evaluated: int, matched: int, errors: int) -> None:
        before = self.rules.get(rule, (0, 0, 0))
        self.rules[rule] = (before[0] + evaluated, before[1] + matched, before[2] + errors)


def added(check: PolicyCheck, tally: Tally) -> PolicyCheck:
    """The record with the counts of a tally of the same state added."""
    counts = []
    for each in check.counts:
        evaluated, matched, errors = tally.rules.get(each.rule, (0, 0, 0))
        counts.append(
            RuleTally(
                rule=each.rule,
                evaluated=each.evaluated + evaluated,
                matched=each.matched + matched,
                errors=each.errors + errors,
            )
        )
    return structs.replace(check, counts=tuple(counts))


class Tallies:
    """Tallies by key; one per policy, of the state that was evaluated last."""

    def __init__(self) -> None:
        self._by_key: dict[str, Tally] = {}

    def add(self, key: str, of: Identity, result: RuleResult) -> None:
        """Count one rule's outcomes in one evaluation."""
        self._of(key, of).add(result.rule, result.evaluated, result.matched, result.errors)

    def take(self) -> Mapping[str, Tally]:
        """All that was counted; counting goes on from nothing."""
        taken, self._by_key = self._by_key, {}
        return taken

    def put_back(self, key: str, tally: Tally) -> None:
        """Take back what could not be recorded, unless a newer state of the policy is being counted."""
        known = self._by_key.get(key)
        if known is None or known.identity == tally.identity:
            for rule, counts in tally.rules.items():
                self._of(key, tally.identity).add(rule, *counts)

    def _of(self, key: str, of: Identity) -> Tally:
        tally = self._by_key.get(key)
        if tally is None or tally.identity != of:
            tally = self._by_key[key] = Tally(of)
        return tally
