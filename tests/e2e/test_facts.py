"""A running placement and the world's facts, over the whole pipeline in one process."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.hub.resources import SYNCTARGETS
from tests.support import worlds
from tests.support.manifests import condition
from tests.support.together import Together, together, until

EU = {"name": "eu", "expression": 'hasLabel(target, "jurisdiction", "eu")', "message": "must be in the EU"}
NEAR = {"required": [{"matchExpressions": [{"key": "jurisdiction", "operator": "In", "values": ["eu"]}]}]}


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[Together]:
    async with together(tmp_path, worlds.world(3, delay=0.01), in_place_seconds=600.0) as found:
        yield found


async def label(system: Together, target: str, **labels: str | None) -> None:
    patch = {"metadata": {"labels": labels}}
    await system.admin.cluster(worlds.PLATFORM).merge_patch(SYNCTARGETS, target, patch)


async def placed(system: Together, name: str, **spec: Any) -> str:
    """The one target in which it is, once it is Ready there."""
    await system.place(name, worlds.deployment(name), **spec)
    await system.reaches(name, "Ready")
    (target,) = await system.chosen(name)
    return target


@pytest.mark.parametrize("spec", [{"policies": [EU]}, {"affinity": NEAR}], ids=["rule", "affinity"])
async def test_a_placement_leaves_a_target_that_loses_what_a_rule_or_required_affinity_asks_for(
    system: Together, spec: dict[str, Any]
) -> None:
    await label(system, "cluster-000", jurisdiction="eu")
    assert await placed(system, "web", **spec) == "cluster-000"
    await label(system, "cluster-001", jurisdiction="eu")
    await label(system, "cluster-000", jurisdiction="us")
    await until(lambda: system.applied("web", "cluster-001"), "it moved")
    await until(lambda: system.applied("web", "cluster-000"), "it left", holds=lambda found: found is None)

    async def satisfied() -> bool:
        return bool(condition(await system.status("web"), "PolicySatisfied")["status"] == "True")

    await until(satisfied, "the condition is true again")
    history = (await system.decision("web"))["history"]
    assert history[0]["why"] == "TargetChanged: root:platform/cluster-000"


async def test_with_nowhere_to_go_it_stays_and_says_that_it_may_not_be_there(system: Together) -> None:
    await label(system, "cluster-000", jurisdiction="eu")
    assert await placed(system, "web", policies=[EU]) == "cluster-000"
    await label(system, "cluster-000", jurisdiction=None)
    status = await system.reaches("web", "Unschedulable")
    assert condition(status, "PolicySatisfied")["status"] == "False"
    assert "cluster-000 (must be in the EU)" in condition(status, "PolicySatisfied")["message"]
    assert await system.applied("web", "cluster-000") is not None
    await label(system, "cluster-000", jurisdiction="eu")
    status = await system.reaches("web", "Ready")
    assert condition(status, "PolicySatisfied")["status"] == "True"


async def test_only_those_placements_have_a_round_by_whose_rules_the_fact_decided(system: Together) -> None:
    await label(system, "cluster-000", jurisdiction="eu", other="a")
    other = {"name": "other", "expression": 'hasLabel(target, "other")'}
    here = {"names": ["cluster-000"]}
    await placed(system, "ruled", policies=[EU], targets=here)
    await placed(system, "otherwise", policies=[other], targets=here)
    await placed(system, "free", targets=here)
    names = ("ruled", "otherwise", "free")
    before = {name: (await system.decision(name))["attempt"] for name in names}
    await label(system, "cluster-000", unrelated="x")
    await label(system, "cluster-000", other="b")

    async def again() -> bool:
        return bool((await system.decision("otherwise"))["attempt"] > before["otherwise"])

    await until(again, "the placement whose rule reads that label is decided anew")
    after = {name: (await system.decision(name))["attempt"] for name in names}
    assert after == {**before, "otherwise": before["otherwise"] + 1}
