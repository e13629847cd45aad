"""Scorers and filters in other processes: the contract, and what becomes of one that fails."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from services.scheduler.plugins import BATCH, REMEMBERED, Plugins, asking
from services.scheduler.settings import SchedulerSettings
from shared.broker.bus import BusError
from shared.broker.memory.bus import MemoryBus
from tests.unit.scheduler.builders import decide, deployment, request, snapshot_of, target

WANTED = {"strategy": {"scorers": [{"name": "Plugin:green", "weight": 1, "args": {"year": 2026}}]}}


class Bench:
    """Plugins that answer from a function, and what they were asked."""

    def __init__(self, answer: Callable[[dict[str, Any]], Any], filters: str = "") -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.now = 0.0

        async def ask(subject: str, payload: bytes, deadline: float) -> bytes:
            assert deadline == 0.25
            question = json.loads(payload)
            self.asked.append((subject, question))
            said = answer(question)
            if isinstance(said, Exception):
                raise said
            return json.dumps(said).encode()

        self.plugins = Plugins(SchedulerSettings(plugin_filters=filters), ask, lambda: self.now)

    async def columns(self, asked, fleet):
        snapshot = snapshot_of(fleet)
        return await self.plugins.ask(asked, [each.id for each in fleet], snapshot)


async def test_a_scorer_is_told_of_placement_and_targets_and_scores_them() -> None:
    bench = Bench(lambda question: {"scores": [None if "x" in each["labels"] else 80 for each in question["targets"]]})
    asked = request(WANTED, workload=[deployment(replicas=2, cpu=1.0)], labels={"team": "shop"}, previous=["root/a"])
    fleet = [target("a"), target("b", labels={"x": "y"})]
    plugin_answers = await bench.columns(asked, fleet)

    ((subject, question),) = bench.asked
    assert subject == "moorage.plugins.scorer.green"
    assert question["placement"] == "root:shop/shop/web"
    assert question["args"] == {"year": 2026}
    assert question["demand"] == {"pods": 2.0, "cpu": 2.0}
    assert question["previous"] == ["root/a"]
    assert question["targets"][0]["allocatable"] == {"cpu": 10.0, "memory": 10.0, "pods": 100.0}
    scores = {each.target: each for each in decide(asked, fleet, plugin_answers=plugin_answers).scores()}
    assert scores["root/a"].breakdown["Plugin:green"].raw == 80.0
    assert "Plugin:green" not in scores["root/b"].breakdown


async def test_a_filter_excludes_with_its_own_words() -> None:
    words = ["frozen for audit", None, "frozen for audit"]
    bench = Bench(lambda _: {"excluded": words}, filters="audit, ")
    fleet = [target("a"), target("b"), target("c")]
    outcome = decide(request(), fleet, plugin_answers=await bench.columns(request(), fleet))
    assert [(each.reason, each.message, each.targets) for each in outcome.rejections] == [
        ("Plugin:audit", "frozen for audit", ("root/a", "root/c"))
    ]
    left = decide(request(), fleet[1:], snapshot=snapshot_of(fleet[2:]), plugin_answers=await Bench(
        lambda _: {"excluded": [None, "no"]}, filters="audit").columns(request(), fleet[1:]))  # fmt: skip
    assert left.proposal.refusal is not None
    assert left.proposal.refusal.message == "0/2 targets: 1 gone from the inventory, 1 no"


@pytest.mark.parametrize(
    "answer",
    [BusError("nobody answers"), {"scores": [1.0]}, {"scores": "all"}, ["what"], {"excluded": [None, None]}],
)
async def test_one_that_fails_abstains_and_is_left_alone_for_a_while(answer) -> None:
    bench = Bench(lambda _: answer)
    fleet = [target("a"), target("b")]
    assert await bench.columns(request(WANTED), fleet) == {}
    assert decide(request(WANTED), fleet, plugin_answers={}).proposal.selected
    bench.now = 4.9
    await bench.columns(request(WANTED), fleet)
    assert len(bench.asked) == 1
    bench.now = 5.1
    await bench.columns(request(WANTED), fleet)
    assert len(bench.asked) == 2


async def test_many_targets_are_asked_about_in_batches() -> None:
    bench = Bench(lambda question: {"scores": [float(each["id"][-1]) for each in question["targets"]]})
    fleet = [target(f"t{n}") for n in range(BATCH + 5)]
    column = (await bench.columns(request(WANTED), fleet))["scorer", "green"]
    assert [len(question["targets"]) for _, question in bench.asked] == [BATCH, 5]
    assert column.tolist() == [float(n % 10) for n in range(BATCH + 5)]


async def test_nobody_is_asked_where_nothing_is_wanted_or_the_bus_has_no_requests() -> None:
    bench = Bench(lambda _: BusError("asked"))
    assert await bench.columns(request(), [target("a")]) == {}
    assert bench.asked == []
    assert asking(MemoryBus()) is None
    assert await Plugins(SchedulerSettings(), None).ask(request(WANTED), ["root/a"], snapshot_of([])) == {}


async def test_a_target_that_is_gone_is_asked_about_without_facts() -> None:
    bench = Bench(lambda question: {"scores": [50.0 for _ in question["targets"]]})
    await bench.plugins.ask(request(WANTED), ["root/gone"], snapshot_of([]))
    assert bench.asked[0][1]["targets"][0]["labels"] == {}


async def test_names_of_plugins_that_nobody_answers_for_do_not_pile_up() -> None:
    bench = Bench(lambda _: BusError("nobody answers"))
    for number in range(REMEMBERED + 3):
        named = {"strategy": {"scorers": [{"name": f"Plugin:n{number}"}]}}
        await bench.columns(request(named), [target("a")])
    assert len(bench.plugins._resting) == REMEMBERED
