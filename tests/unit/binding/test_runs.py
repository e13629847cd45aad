"""What ran to its end, and is not run again."""

from typing import Any

import msgspec
import pytest

from services.binding.core import Collected, Wanted, wanted
from services.binding.runs import done, ended_elsewhere, is_done, successors, unrecorded
from services.binding.target.outcome import begun
from shared.api import (
    BoundObject,
    Ending,
    PlacementBinding,
    PlacementDecision,
    PlacementSpec,
    decode_binding,
    decode_decision,
)
from shared.model.refs import PlacementRef
from tests.support.manifests import deployment, obj

REF = PlacementRef(workspace="root:team", namespace="shop", name="nightly")
WEST = {"workspace": "root:platform", "name": "west"}
EAST = {"workspace": "root:platform", "name": "east"}


def job(uid: str = "1", **fields: Any) -> dict[str, Any]:
    found = obj("Job", "batch/v1", name="nightly", spec={"template": {"spec": {}}, "parallelism": 9, **fields})
    return {**found, "metadata": {**found["metadata"], "uid": uid}}


def made(*objects: dict[str, Any], share: int | None = None, **spec: Any) -> Wanted:
    spec_of = msgspec.convert(spec, PlacementSpec)
    return wanted(REF, spec_of, Collected(objects), overrides=(), replicas=share, applyset="x")


def ended(found: Wanted, how: Ending = "Succeeded", uid: str = "7") -> BoundObject:
    return msgspec.structs.replace(begun(found.members[0]), uid=uid, ended=how)


def labelled(found: dict[str, Any]) -> dict[str, Any]:
    return {**found, "metadata": {**found["metadata"], "labels": {"a": "b"}}}


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (made(job()), True),
        (made(labelled(job())), True),
        (made(job(uid="2")), False),
        (made(job(backoffLimit=2)), False),
    ],
    ids=["as it was", "labelled", "made anew", "another spec"],
)
def test_what_ended_is_done_until_its_spec_or_its_source_is_another(now: Wanted, expected: bool) -> None:
    assert is_done(now.members[0], ended(made(job()))) is expected


def test_who_divides_a_job_otherwise_does_not_ask_for_another_run() -> None:
    divided = {"replicas": {"division": "Weighted"}}
    three, two = (made(job(), share=number, **divided) for number in (3, 2))
    assert three.members[0].hash != two.members[0].hash
    assert is_done(two.members[0], ended(three))


def test_of_what_was_recorded_by_a_release_before_the_whole_content_counts() -> None:
    before = msgspec.structs.replace(ended(made(job())), work="")
    assert is_done(made(job()).members[0], before)
    assert not is_done(made(labelled(job())).members[0], before)


def test_what_is_done_is_on_record_as_it_is_wanted_now() -> None:
    now = made(labelled(job())).members[0]
    found = done(now, msgspec.structs.replace(ended(made(job())), ended="", expires=True))
    assert (found.hash, found.ended) == (now.hash, "Unseen")


def binding(target: dict[str, str], *objects: BoundObject, uid: str = "p") -> PlacementBinding:
    spec = {"placementRef": {"name": "nightly", "namespace": "shop", "uid": uid}, "target": target}
    found = decode_binding(obj("PlacementBinding", "placement.moorage.io/v1alpha1", name="b", spec=spec))
    return msgspec.structs.replace(found, status=msgspec.structs.replace(found.status, objects=objects))


def decided(*targets: dict[str, str]) -> PlacementDecision:
    status = {"attempt": 2, "selected": [{"target": each} for each in targets]}
    return decode_decision(obj("PlacementDecision", "placement.moorage.io/v1alpha1", name="nightly", status=status))


def elsewhere(now: Wanted, *bindings: PlacementBinding) -> list[BoundObject]:
    lacking = unrecorded(now, {})
    return list(ended_elsewhere(lacking, bindings, "p", decided(WEST)).values())


def test_what_ended_in_a_target_that_is_left_is_done_in_the_one_that_takes_over() -> None:
    (found,) = elsewhere(made(job()), binding(EAST, ended(made(job()))))
    assert (found.uid, found.ended, found.message) == ("", "Succeeded", "It ran to its end in root:platform/east.")


def test_it_runs_where_it_did_not_end_everywhere_or_for_another_placement_or_is_still_selected_there() -> None:
    mine, running = ended(made(job())), ended(made(job()), how="")
    third = {"workspace": "root:platform", "name": "third"}
    assert not elsewhere(made(job()), binding(EAST, mine), binding(third, running))
    assert not elsewhere(made(job()), binding(EAST, mine, uid="former"))
    assert not elsewhere(made(job()), binding(WEST, mine))
    assert not elsewhere(made(job(uid="2")), binding(EAST, mine))


def test_beside_what_runs_on_it_is_run_in_the_new_target_too() -> None:
    both = made(deployment(), job())
    assert unrecorded(both, {}) == []
    settings = made(obj("ConfigMap", name="settings"), job())
    assert [each.ref.name for each in unrecorded(settings, {})] == ["nightly"]


def test_where_it_takes_over_has_to_know_before_nobody_does_unless_something_beside_it_runs_on() -> None:
    done_job, running = ended(made(job())), begun(made(deployment()).members[0])
    settings = begun(made(obj("ConfigMap", name="settings")).members[0])
    assert successors(binding(EAST, done_job, settings), decided(WEST)) == ("root:platform/west",)
    assert successors(binding(EAST, done_job, running), decided(WEST)) == ()
    assert successors(binding(EAST, ended(made(job()), how="")), decided(WEST)) == ()
    assert successors(None, decided(WEST)) == ()
    assert successors(binding(EAST, done_job), None) == ()
