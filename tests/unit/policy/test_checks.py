"""The bucket CHECKS: what the policy worker keeps in it."""

import asyncio
from collections.abc import Callable

from services.policy.cel.isolation import Isolation
from services.policy.checks import Checks
from shared.api import PlacementPolicySpec, Rule, Variable
from shared.broker.memory.store import MemoryStore
from shared.broker.tokens import join
from shared.model.policy import PolicyCheck, PolicyFinding, RuleResult, RuleTally
from shared.pipeline.buckets import BUCKETS, CHECKS, POLICIES

from .lab import POLICY, Lab, running

GOOD = Rule(name="r", expression="target.ready")
TYPO = PolicyFinding(
    rule="rules[r].expression",
    line=1,
    column=8,
    message="`target` has no field `redy`",
    suggestion="did you mean `ready`?",
)


def of(generation: int, uid: str = "u") -> Callable[[PolicyCheck | None], bool]:
    return lambda check: check is not None and (check.uid, check.generation) == (uid, generation)


def checks_of(lab: Lab) -> Checks:
    return lab.policy.checks


async def test_a_policy_is_checked_when_it_appears_changes_is_made_anew_and_goes() -> None:
    async with running() as lab:
        await lab.rule("target.ready")
        spec = PlacementPolicySpec(rules=(GOOD,))
        assert await lab.check(of(1)) == PolicyCheck(
            workspace="root",
            name="p",
            uid="u",
            generation=1,
            counts=(RuleTally(rule="r"),),
            valid=spec,
            valid_generation=1,
        )
        await lab.rule("target.redy", generation=2)
        check = await lab.check(of(2))
        assert check is not None
        assert (check.findings, check.valid, check.valid_generation) == ((TYPO,), spec, 1)
        await lab.rule("target.ready", uid="v")
        check = await lab.check(of(1, "v"))
        assert check is not None
        assert check.findings == ()
        await lab.policies.delete(POLICY)
        await lab.check(lambda check: check is None)


async def test_the_record_of_a_policy_that_went_while_nobody_looked_is_removed() -> None:
    store = MemoryStore()
    await store.provision(BUCKETS)
    async with running(store) as lab:
        await lab.rule("true")
        await lab.check(of(1))
    async with running(store) as lab:
        await lab.check(of(1))
    async with running(store) as lab:
        await lab.policies.delete(POLICY)
    async with running(store) as lab:
        await lab.check(lambda check: check is None)


async def test_what_another_version_wrote_is_made_anew_and_an_unreadable_policy_holds_up_nobody() -> None:
    store = MemoryStore()
    await store.provision(BUCKETS)
    await store.raw(CHECKS).put(POLICY, b'{"workspace": 7}')
    async with running(store) as lab:
        for odd in (join("root", "odd"), "odd", "much.too.odd"):
            await store.raw(POLICIES).put(odd, b"[]")
        await lab.rule("target.redy")
        check = await lab.check(of(1))
        assert check is not None
        assert check.findings == (TYPO,)


async def test_copies_write_the_same_once() -> None:
    store = MemoryStore()
    async with running(store) as one, running(store) as other:
        await one.rule("target.redy")
        await one.check(of(1))
        entry = await one.checks.get(POLICY)
        for lab in (one, other):
            checks_of(lab)._reviewed.clear()
            await checks_of(lab)._settle(POLICY)
        assert await one.checks.get(POLICY) == entry


async def test_counts_of_all_copies_add_up_and_begin_anew_with_the_policy() -> None:
    store = MemoryStore()
    async with running(store) as one, running(store) as other:
        revision = await one.offer("a", ready=True)
        revision = await one.offer("b")
        policies = await one.rule("target.ready")
        await one.check(of(1))
        for lab in (one, other, other):
            await lab.evaluate("a", "b", revision=revision, policy_revision=policies)
        await asyncio.gather(*(checks_of(lab).flush() for lab in (one, other)))
        check = await one.check(lambda check: check is not None and check.counts[0].evaluated == 6)
        assert check is not None
        assert check.counts == (RuleTally(rule="r", evaluated=6, matched=3),)
        await one.evaluate("a", revision=revision, policy_revision=policies)
        policies = await one.rule("target.nodes / 0 > 1", generation=2)
        await one.check(of(2))
        await checks_of(one).flush()
        await one.evaluate("a", revision=revision, policy_revision=policies)
        await checks_of(one).flush()
        check = await one.check(lambda check: check is not None and check.counts[0].evaluated > 0)
        assert check is not None
        assert check.counts == (RuleTally(rule="r", evaluated=1, errors=1),)


async def test_a_bucket_that_somebody_emptied_is_filled_again() -> None:
    async with running() as lab:
        await lab.rule("target.ready")
        await lab.check(of(1))
        await lab.checks.delete(POLICY)
        await lab.check(lambda check: check is None)
        checks_of(lab)._tallies.add(POLICY, ("u", 1), _seen(3))
        await checks_of(lab).flush()
        await lab.check(of(1))
        await checks_of(lab).flush()  # what could not be recorded the last time
        check = await lab.check(lambda check: check is not None and check.counts[0].evaluated > 0)
        assert check is not None
        assert check.counts[0].evaluated == 3


async def test_a_check_that_takes_too_long_is_stopped_and_recorded() -> None:
    long = " && ".join(["target.ready"] * 250)
    rules = tuple(Rule(name=f"r{number}", expression=f"{long} && {number} == {number}") for number in range(60))
    isolation = Isolation(deadline=0.5)
    try:
        assert await isolation.review(PlacementPolicySpec(rules=rules), "hostile") is None
        assert await isolation.review(PlacementPolicySpec(rules=(GOOD,)), "other") == []
    finally:
        await isolation.close()


async def test_a_broken_variable_is_said_once() -> None:
    spec = PlacementPolicySpec(
        variables=(Variable(name="x", expression="target.nope"),),
        rules=(Rule(name="a", expression="variables.x"), Rule(name="b", expression="variables.x")),
    )
    isolation = Isolation()
    try:
        found = await isolation.review(spec, "a")
    finally:
        await isolation.close()
    assert found is not None
    assert [each.rule for each in found] == ["variables[x].expression"]


def _seen(evaluated: int) -> RuleResult:
    return RuleResult(policy="root/p", rule="r", effect="Require", evaluated=evaluated)
