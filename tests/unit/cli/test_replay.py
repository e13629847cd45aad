"""A round decided again: what comes to the same, and what is said where it does not."""

from typing import Any

import msgspec
import pytest

from services.cli.offline.objects import Manifest
from services.cli.offline.plane import Plane, plane_of, policies_of
from services.cli.offline.planner import Planner
from services.cli.offline.requests import request_from
from services.cli.planning.again import Replayed, again
from services.cli.planning.record import RecordedRound
from services.discovery.core import Candidate, Workspaces, screen
from shared.pipeline.messages import Decided, Discovered, Scheduled
from tests.unit.cli.test_plan import HEAD, deployment, placement, target

WEB: list[Manifest] = [placement("web"), deployment("web")]
NOW = 1_700_000_000.0


def plane(*targets: Manifest, policies: Any = ()) -> Plane:
    return plane_of(targets, WEB, policies, ())


async def decided_on(ground: Plane) -> RecordedRound:
    """What the stages tell of a round that is decided on a plane."""
    request = msgspec.structs.replace(request_from(ground, WEB[0], NOW), requested_at=NOW)
    candidates = (Candidate(name, each, frozenset()) for name, each in sorted(ground.targets.items()))
    screened = screen(request, candidates, Workspaces({}), None)
    discovered = Discovered(request=request, targets=screened.ids, rejections=screened.rejections, inventory_revision=1)
    async with Planner(ground) as planner:
        answer = await planner.go_on(discovered, NOW)
    rejections = (*screened.rejections, *answer.outcome.rejections)
    scheduled = Scheduled(
        request=request, proposal=answer.outcome.proposal, rejections=rejections, inventory_revision=1
    )
    decided = Decided(placement=request.placement, head=request.head, selected=answer.selected)
    return RecordedRound(discovered, scheduled, decided)


async def replayed(then: Plane, now: Plane) -> Replayed:
    return await again(now, await decided_on(then))


async def test_a_round_on_the_same_ground_comes_to_the_same() -> None:
    here = (target("a"), target("b", cpu="16"))
    found = await replayed(plane(*here), plane(*here))
    assert (found.same, found.differences, found.decided) == (True, (), None)
    assert found.then == (("/b", 2),)


async def test_what_the_placement_has_now_is_free_for_it() -> None:
    now = plane(target("a", cpu="2"))
    recorded = await decided_on(plane(target("a", cpu="2")))
    request = recorded.scheduled.request
    now.hold(request.placement, request.labels, {"/a": {"cpu": 2.0}})
    assert (await again(now, recorded)).same


async def test_a_target_that_is_full_by_now_is_named_with_the_reason() -> None:
    found = await replayed(plane(target("a"), target("b", cpu="16")), plane(target("a"), target("b", cpu="1")))
    assert (found.same, found.now) == (False, (("/a", 2),))
    (why,) = (each for each in found.differences if each.what == "allowed")
    assert (why.target, why.then, why.now.partition(":")[0]) == ("/b", "allowed", "InsufficientResources")


async def test_a_target_that_is_gone_by_now_is_told() -> None:
    found = await replayed(plane(target("a"), target("b", cpu="16")), plane(target("a")))
    assert [(each.target, each.now.partition(":")[0]) for each in found.differences if each.what == "allowed"] == [
        ("/b", "TargetGone")
    ]


async def test_scores_that_changed_are_told_with_the_scorer() -> None:
    found = await replayed(plane(target("a"), target("b", cpu="16")), plane(target("a"), target("b", cpu="12")))
    assert found.same
    (score,) = found.differences
    assert (score.target, score.what) == ("/b", "Resource")
    assert float(score.then.partition("×")[0]) > float(score.now.partition("×")[0])


async def test_a_policy_that_came_since_is_told_by_its_message() -> None:
    rule = {"name": "r", "effect": "Forbid", "expression": 'target.name == "b"', "message": "not there"}
    policy = {**HEAD, "kind": "PlacementPolicy", "metadata": {"name": "p"}, "spec": {"rules": [rule]}}
    here = (target("a"), target("b", cpu="16"))
    now = plane(*here)
    now.policies = policies_of([policy])
    found = await again(now, await decided_on(plane(*here)))
    assert not found.same
    assert [each.now for each in found.differences if each.what == "allowed"] == ["PolicyForbids: not there"]


@pytest.mark.parametrize("now", [(), (("a", "1"),)])
async def test_one_that_was_placed_and_would_be_refused_says_why(now: tuple[tuple[str, str], ...]) -> None:
    found = await replayed(plane(target("a")), plane(*(target(name, cpu=cpu) for name, cpu in now)))
    assert (found.same, found.now, found.refused_then) == (False, (), "")
    assert found.refused_now


async def test_what_decision_took_instead_is_said() -> None:
    here = (target("a"), target("b", cpu="16"))
    recorded = await decided_on(plane(*here))
    assert recorded.decided is not None
    other = msgspec.structs.replace(recorded.decided.selected[0], target="/a")
    recorded = RecordedRound(
        recorded.discovered, recorded.scheduled, msgspec.structs.replace(recorded.decided, selected=(other,))
    )
    assert (await again(plane(*here), recorded)).decided == (("/a", 2),)
