"""The record of a policy: the findings of its check, and counts per rule. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec import structs

from shared.api import PlacementPolicySpec
from shared.model.policy import PolicyCheck, PolicyEntry, PolicyFinding, RuleResult, RuleTally

MOST_FINDINGS = 16
"""Findings of one policy that are recorded; of the rest, how many they are."""

MOST_KEPT = 256 << 10
"""Bytes of a spec that is kept, to hold while a later one does not compile."""

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
    """The record of a policy. No findings but warnings: it compiles; None: nobody can tell.

    `before` is the record so far: it has the counts, where it is of this state of the policy, and the newest spec that
    compiled, where it is of this policy.
    """
    told = (UNTOLD,) if findings is None else tuple(findings)
    found = tuple(each for each in told if not each.warning)
    same = before is not None and identity(before) == identity(policy)
    counts = before.counts if before and same else tuple(RuleTally(rule=rule.name) for rule in policy.spec.rules)
    valid, valid_generation = _valid(policy, before) if found else (policy.spec, policy.generation)
    if valid is None or len(msgspec.json.encode(valid)) > MOST_KEPT:
        valid, valid_generation = None, 0
    return PolicyCheck(
        workspace=policy.workspace,
        name=policy.name,
        uid=policy.uid,
        generation=policy.generation,
        findings=found[:MOST_FINDINGS],
        more=max(0, len(found) - MOST_FINDINGS),
        warnings=tuple(each for each in told if each.warning)[:MOST_FINDINGS],
        counts=counts,
        valid=valid,
        valid_generation=valid_generation,
    )


def _valid(policy: PolicyEntry, before: PolicyCheck | None) -> tuple[PlacementPolicySpec | None, int]:
    """The newest spec of a policy that compiled, though its present one does not, and its generation."""
    if before is None or before.uid != policy.uid:
        return None, 0
    return before.valid, before.valid_generation


def holding(policy: PolicyEntry, check: PolicyCheck | None) -> PolicyEntry | None:
    """The policy as it holds: where it does not compile, as it was when it last did. None: that is not known yet."""
    if check is None or check.uid != policy.uid or check.valid is None:
        return policy
    if check.generation != policy.generation:
        return None
    return structs.replace(policy, spec=check.valid) if check.findings else policy


def is_untold(check: PolicyCheck | None, policy: PolicyEntry) -> bool:
    """True if the check of this state of the policy did not come to its end, and no earlier one holds in its place."""
    if check is None or identity(check) != identity(policy):
        return False
    return check.findings == (UNTOLD,) and check.valid is None


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
