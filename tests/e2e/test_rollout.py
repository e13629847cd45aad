"""Rollouts on the whole pipeline, in one process: changes go from target to target, and stop where they fail."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.cli.rollout.hub import RolloutHub
from services.cli.rollout.undo import undone
from services.cli.rollout.undoing import Irrevocable
from shared.hub.names import APPROVED_ANNOTATION, PAUSED_ANNOTATION
from shared.hub.resources import PLACEMENTS
from shared.kube.resources import DEPLOYMENTS, SECRETS
from shared.model.refs import PlacementRef
from tests.support import worlds
from tests.support.manifests import condition
from tests.support.together import Together, together, until

FAIL = "sandbox.moorage.io/fail"


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[Together]:
    async with together(tmp_path, worlds.world(3, delay=0.01), in_place_seconds=600.0, health_seconds=0.2) as found:
        yield found


async def place(system: Together, **rollout: Any) -> list[str]:
    """web in all three targets, with this rollout; the targets in their order."""
    await system.place("web", worlds.deployment("web"), targets={"count": {"min": 3}}, rollout=rollout)
    await system.reaches("web", "Ready")
    return await system.chosen("web")


async def change(system: Together, version: str, *, fail: bool = False) -> None:
    """Another template of the Deployment; one that fails never becomes ready."""
    patch: dict[str, Any] = {
        "metadata": {"annotations": {FAIL: "true" if fail else None}},
        "spec": {"template": {"metadata": {"annotations": {"version": version}}}},
    }
    await system.user.merge_patch(DEPLOYMENTS, "web", patch, worlds.NAMESPACE)


async def versions(system: Together, targets: list[str]) -> list[str]:
    """What runs in these targets."""
    found = []
    for target in targets:
        applied = await system.applied("web", target)
        assert applied is not None
        found.append((applied["spec"]["template"]["metadata"].get("annotations") or {}).get("version", ""))
    return found


async def waits(system: Together, targets: int) -> list[dict[str, Any]]:
    """The bindings that wait for their turn, once there are so many."""

    async def look() -> list[dict[str, Any]]:
        found = []
        for each in await system.bindings():
            awaits = (each.get("status") or {}).get("awaits")
            if awaits and awaits["revision"] != each["spec"].get("revision"):
                found.append(each)
        return found

    found: list[dict[str, Any]] = await until(look, f"{targets} wait", holds=lambda found: len(found) == targets)
    return found


async def runs(system: Together, targets: list[str], *wanted: str) -> None:
    async def look() -> list[str]:
        return await versions(system, targets)

    await until(look, f"{wanted} run", holds=lambda found: found == list(wanted))


async def annotate(system: Together, name: str, value: str | None) -> None:
    await system.admin.cluster(worlds.TEAM).merge_patch(
        PLACEMENTS, "web", {"metadata": {"annotations": {name: value}}}, worlds.NAMESPACE
    )


async def test_what_is_placed_first_waits_for_nobody_and_a_change_reaches_all_in_the_end(system: Together) -> None:
    targets = await place(system)
    before = {each["spec"]["revision"] for each in await system.bindings()}
    await change(system, "2")
    await runs(system, targets, "2", "2", "2")
    after = {each["spec"]["revision"] for each in await system.bindings()}
    assert len(before) == len(after) == 1
    assert before != after


async def test_what_fails_stops_at_the_first_target_and_what_mends_it_goes_on(system: Together) -> None:
    targets = await place(system)
    await change(system, "bad", fail=True)
    await runs(system, targets, "bad", "", "")
    held = await waits(system, 2)
    assert {condition(each["status"], "Progressing")["reason"] for each in held} == {"AwaitsTurn"}
    assert await versions(system, targets) == ["bad", "", ""]
    await change(system, "good")
    await runs(system, targets, "good", "good", "good")


async def test_what_is_taken_back_runs_at_once_where_it_never_left(system: Together) -> None:
    targets = await place(system)
    await change(system, "1")
    await runs(system, targets, "1", "1", "1")
    generations = [(await system.applied("web", each) or {})["metadata"]["generation"] for each in targets[1:]]
    await change(system, "bad", fail=True)
    await runs(system, targets, "bad", "1", "1")
    await waits(system, 2)
    await change(system, "1")
    await runs(system, targets, "1", "1", "1")
    await system.reaches("web", "Ready")
    assert generations == [(await system.applied("web", each) or {})["metadata"]["generation"] for each in targets[1:]]


async def test_a_step_waits_for_approval_of_this_very_revision(system: Together) -> None:
    targets = await place(system, steps=[{"targets": 1}, {"targets": "100%", "approve": True}], maxConcurrent=3)
    await change(system, "2")
    await runs(system, targets, "2", "", "")
    held = await waits(system, 2)
    revision = held[0]["status"]["awaits"]["revision"]
    await annotate(system, APPROVED_ANNOTATION, "another/2")
    await waits(system, 2)
    assert await versions(system, targets) == ["2", "", ""]
    await annotate(system, APPROVED_ANNOTATION, f"{revision}/2")
    await runs(system, targets, "2", "2", "2")


async def test_while_it_is_paused_nothing_changes_anywhere(system: Together) -> None:
    targets = await place(system)
    await annotate(system, PAUSED_ANNOTATION, "the lift burns")
    await change(system, "2")
    await waits(system, 3)
    assert await versions(system, targets) == ["", "", ""]
    await annotate(system, PAUSED_ANNOTATION, None)
    await runs(system, targets, "2", "2", "2")


async def test_a_target_that_is_lost_in_the_middle_is_waited_for(system: Together) -> None:
    targets = await place(system)
    system.sandbox.set_available(targets[0], False)
    await change(system, "2")
    await waits(system, 2)
    assert await versions(system, targets[1:]) == ["", ""]
    system.sandbox.set_available(targets[0], True)
    await runs(system, targets, "2", "2", "2")


async def test_without_a_rollout_all_targets_change_and_nothing_more_is_on_record(system: Together) -> None:
    await system.place("web", worlds.deployment("web"), targets={"count": {"min": 3}})
    await system.reaches("web", "Ready")
    await change(system, "bad", fail=True)
    await runs(system, await system.chosen("web"), "bad", "bad", "bad")
    assert all("revision" not in each["spec"] and "awaits" not in each["status"] for each in await system.bindings())


async def test_what_drifts_in_a_target_that_waits_stays_until_its_turn(system: Together) -> None:
    targets = await place(system)
    await annotate(system, PAUSED_ANNOTATION, "for the test")
    await change(system, "2")
    await waits(system, 3)
    await system.targets[targets[2]].merge_patch(DEPLOYMENTS, "web", {"spec": {"replicas": 2}}, worlds.NAMESPACE)
    await annotate(system, PAUSED_ANNOTATION, None)
    await runs(system, targets, "2", "2", "2")

    async def replicas() -> int:
        return int((await system.applied("web", targets[2]) or {})["spec"]["replicas"])

    await until(replicas, "it is as it was decided", holds=lambda found: found == 1)


def on_hub(system: Together) -> RolloutHub:
    return RolloutHub(system.user, PlacementRef(workspace="", namespace=worlds.NAMESPACE, name="web"))


async def test_what_was_placed_before_comes_back_as_it_was(system: Together) -> None:
    targets = await place(system)
    (first,) = {each["spec"]["revision"] for each in await system.bindings()}
    await change(system, "bad", fail=True)
    await runs(system, targets, "bad", "", "")
    await waits(system, 2)
    hub = on_hub(system)
    assert (
        await undone(hub, dry_run=True)
        == f"Deployment {worlds.NAMESPACE}/web would be as they were in revision {first}"
    )
    assert await versions(system, targets) == ["bad", "", ""]
    await undone(hub)
    await runs(system, targets, "", "", "")

    async def revisions() -> set[str]:
        return {each["spec"]["revision"] for each in await system.bindings()}

    await until(revisions, "all have the first revision", holds=lambda found: found == {first})
    assert {each.spec.revision for each in await hub.revisions()} > {first}


async def test_a_revision_whose_secret_is_another_one_by_now_is_not_gone_back_to(system: Together) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db", "namespace": worlds.NAMESPACE}}
    await system.user.create(SECRETS, {**secret, "stringData": {"password": "first"}})
    made = worlds.deployment("web")
    made["spec"]["template"]["spec"]["containers"][0]["envFrom"] = [{"secretRef": {"name": "db"}}]
    await system.place("web", made, targets={"count": {"min": 1}}, rollout={})
    await system.reaches("web", "Ready")
    (target,) = await system.chosen("web")
    await change(system, "2")
    await runs(system, [target], "2")
    hub = on_hub(system)
    kept = await hub.revisions()
    assert len(kept) == 2
    assert "first" not in str(kept)
    assert all(each.content is None for one in kept for each in one.spec.objects if each.ref.kind == "Secret")
    await system.user.merge_patch(SECRETS, "db", {"stringData": {"password": "second"}}, worlds.NAMESPACE)
    with pytest.raises(Irrevocable, match=r"Secret apps/db of revision .* has changed since"):
        await undone(hub)
    await system.user.delete(SECRETS, "db", worlds.NAMESPACE)
    with pytest.raises(Irrevocable, match="is not there any more"):
        await undone(hub)
    assert await versions(system, [target]) == ["2"]


async def test_so_many_revisions_are_kept_as_the_rollout_says(system: Together) -> None:
    await system.place("web", worlds.deployment("web"), rollout={"revisionHistoryLimit": 2})
    await system.reaches("web", "Ready")
    targets = await system.chosen("web")
    for version in ("1", "2", "3"):
        await change(system, version)
        await runs(system, targets, version)

    async def look() -> int:
        return len(await on_hub(system).revisions())

    await until(look, "two are kept", holds=lambda found: found == 2)
