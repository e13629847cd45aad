"""The worker: it follows inventory and policies, waits for those that a message was made from, and answers."""

import time
from pathlib import Path

import pytest

from services.policy.worker import UNAVAILABLE_SECONDS, worker
from shared.broker.bus import Retry
from shared.broker.tokens import join
from shared.pipeline.messages import Discovered, Evaluated

from .lab import running, slow_start


def test_the_declaration() -> None:
    assert (worker.consumes, worker.emits) == ((Discovered,), (Evaluated,))


async def test_it_judges_by_what_the_message_was_made_from() -> None:
    async with running() as lab:
        revision = await lab.offer("a", ready=True)
        policies = await lab.rule("target.ready")
        assert (await lab.evaluate("a", revision=revision, policy_revision=policies)).targets == ("root/a",)
        revision = await lab.offer("a", ready=False)
        revision = await lab.offer("b", ready=True)
        result = await lab.evaluate("a", "b", revision=revision, policy_revision=policies)
        assert result.targets == ("root/b",)


async def test_a_version_that_does_not_compile_leaves_the_one_before_in_force() -> None:
    async with running() as lab:
        revision = await lab.offer("a", ready=True)
        await lab.offer("b", ready=False)
        await lab.rule("target.ready")
        await lab.check(lambda check: check is not None and check.generation == 1)
        policies = await lab.rule("target.redy", generation=2)
        result = await lab.evaluate("a", "b", revision=revision + 1, policy_revision=policies)
        assert (result.targets, [each.reason for each in result.rejections]) == (("root/a",), ["PolicyRequires"])
        policies = await lab.rule("!target.ready", generation=3)
        result = await lab.evaluate("a", "b", revision=revision + 1, policy_revision=policies)
        assert result.targets == ("root/b",)


async def test_it_forgets_a_target_that_is_gone() -> None:
    async with running() as lab:
        await lab.offer("a")
        await lab.evaluate("a", revision=await lab.offer("b"))
        revision = await lab.inventory.delete(join("root", "a"))
        result = await lab.evaluate("a", "b", revision=revision)
        assert (result.targets, [each.reason for each in result.rejections]) == (("root/b",), ["TargetGone"])


@pytest.mark.parametrize("behind", ["revision", "policy_revision"])
async def test_it_asks_for_another_delivery_when_it_is_behind(behind: str) -> None:
    async with running(catch_up_seconds=0.05) as lab:
        with pytest.raises(Retry, match="has not seen revision 99 yet"):
            await lab.evaluate(**{behind: 99})


async def test_rules_that_are_not_provably_cheap_are_answered_too() -> None:
    numbers = "[" + ", ".join(map(str, range(60))) + "]"
    async with running() as lab:
        revision = await lab.offer("a", nodes=3)
        policies = await lab.rule(f"{numbers}.map(x, x + 1).exists(x, x == target.nodes)")
        assert (await lab.evaluate("a", revision=revision, policy_revision=policies)).targets == ("root/a",)
        assert len(lab.policy.engine._isolation._idle) == 1


async def test_a_child_that_starts_slowly_has_the_message_delivered_again(tmp_path: Path) -> None:
    slow = slow_start(tmp_path)
    numbers = "[" + ", ".join(map(str, range(60))) + "]"
    async with running(rule_seconds=60.0) as lab:
        revision = await lab.offer("a", nodes=3)
        policies = await lab.rule(f"{numbers}.map(x, x + 1).exists(x, x == target.nodes)")
        isolation = lab.policy.engine._isolation
        await lab.check(lambda check: check is not None)
        await isolation.close()  # of the child that is up
        isolation.command, isolation.start_seconds = slow.command, 0.01
        for _ in range(7):  # more than what makes a dead letter of a message that fails
            with pytest.raises(Retry, match="has not started yet") as retry:
                await lab.evaluate("a", revision=revision, policy_revision=policies)
            assert retry.value.delay == UNAVAILABLE_SECONDS
        await slow.let_go()
        isolation.start_seconds = 60.0
        assert (await lab.evaluate("a", revision=revision, policy_revision=policies)).targets == ("root/a",)


async def test_the_first_message_waits_for_nothing_to_be_loaded() -> None:
    async with running() as lab:
        assert len(lab.policy.engine._isolation._idle) == 1
        revision = await lab.offer("a", nodes=3, labels={"region": "eu"})
        policies = await lab.rule('target.labels["region"] == "eu" && target.nodes > 2')
        begun = time.process_time()
        await lab.evaluate("a", revision=revision, policy_revision=policies)
        assert time.process_time() - begun < 0.03
