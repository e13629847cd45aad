"""Quotas: what of a target the placements of a workspace may take together."""

from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.snapshot import Snapshot
from shared.model.decision import Reservation
from shared.model.quota import left, lies_in
from shared.model.refs import Head, PlacementRef
from shared.model.request import Request
from shared.model.target import Target
from tests.unit.scheduler.builders import (
    asking,
    candidates_of,
    daemonset,
    decide,
    deployment,
    request,
    snapshot_of,
    target,
)

HEAD = Head(uid="u", generation=1, attempt=1)


def taken(workspace: str, name: str = "other", at: str = "root/t", **resources: float) -> tuple[str, Reservation]:
    """What a placement of a workspace has reserved. The placement that is asked for is root:shop/shop/web."""
    ref = PlacementRef(workspace=workspace, namespace="shop", name=name)
    return at, Reservation(placement=ref, head=HEAD, resources=resources)


AGENTS = request(workload=[daemonset(cpu=2.0)])
FULL = [taken("root:shop:dev", cpu=3.0), taken("root:rival", cpu=4.0)]


@pytest.mark.parametrize(
    ("asked", "quotas", "reserved", "said"),
    [
        (asking(cpu=1.0), {}, [], []),
        (asking(cpu=1.0), {"root:rival": {"cpu": 0.0}}, [], []),
        (asking(4, cpu=1.0), {"root:shop": {"cpu": 4.0}}, [], []),
        (asking(4, cpu=1.0), {"root:shop": {"cpu": 3.9}}, [], ["insufficient cpu quota of root:shop"]),
        (asking(4, cpu=1.0), {"root:shop": {"pods": 3.0}}, [], ["insufficient pods quota of root:shop"]),
        (asking(4, cpu=1.0), {"root": {"memory": 0.0}}, [], []),
        (asking(cpu=1.0), {"root": {"cpu": 0.0}}, [], ["insufficient cpu quota of root"]),
        (asking(cpu=1.0), {"root!": {"cpu": 0.0}}, [], []),
        (asking(cpu=1.0), {"root:shop!": {"cpu": 0.0}}, [], ["insufficient cpu quota of root:shop!"]),
        (asking(cpu=1.0), {"": {"cpu": 0.0}}, [], ["insufficient cpu quota of all workspaces"]),
        (asking(cpu=2.0), {"root:shop": {"cpu": 5.0}}, FULL, []),
        (asking(cpu=2.1), {"root:shop": {"cpu": 5.0}}, FULL, ["insufficient cpu quota of root:shop"]),
        (asking(cpu=2.1), {"root:shop!": {"cpu": 5.0}}, FULL, []),
        (asking(cpu=2.0), {"root": {"cpu": 8.0}}, FULL, ["insufficient cpu quota of root"]),
        (
            asking(cpu=2.0),
            {"root": {"cpu": 8.0}, "root:shop": {"cpu": 4.0, "pods": 0.0}},
            FULL,
            [
                "insufficient cpu quota of root",
                "insufficient cpu quota of root:shop",
                "insufficient pods quota of root:shop",
            ],
        ),
        (asking(0, cpu=1.0), {"root": {"cpu": 1.0}}, [taken("root", cpu=2.0)], []),
        (AGENTS, {"root:shop": {"cpu": 6.0}}, [], []),
        (AGENTS, {"root:shop": {"cpu": 5.9}}, [], ["insufficient cpu quota of root:shop"]),
        (AGENTS, {"root:shop": {"pods": 2.0}}, [], ["insufficient pods quota of root:shop"]),
    ],
)
def test_a_target_falls_out_where_a_quota_is_too_little(asked, quotas, reserved, said) -> None:
    targets = [target("t", nodes=3, quotas=quotas)]
    outcome = decide(asked, targets, snapshot=snapshot_of(targets, reserved))
    exclusions = [exclusion for name, exclusion in outcome.exclusions if name == "Quota"]
    assert [exclusion.message for exclusion in exclusions] == said
    assert {exclusion.reason for exclusion in exclusions} <= {"QuotaExceeded"}


def test_a_refusal_says_which_quota_it_was() -> None:
    full = {"root:shop": {"cpu": 1.0}}
    targets = [target("a", quotas=full), target("b", quotas=full), target("c", allocatable={"pods": 9.0})]
    refusal = decide(asking(cpu=2.0), targets).proposal.refusal
    assert refusal is not None
    assert (refusal.code, refusal.message) == (
        "NoFeasibleTarget",
        "0/3 targets: 2 insufficient cpu quota of root:shop, 1 insufficient cpu",
    )


@pytest.mark.parametrize(
    ("replicas", "placed"),
    [
        (4, True),  # the own 4 do not count against it, and are what the quota was
        (3, True),
        (5, False),  # others hold 1 of the 4 that the quota is by now
    ],
)
def test_what_runs_stays_when_a_quota_is_lowered_and_does_not_grow(replicas, placed) -> None:
    asked = request(workload=[deployment(replicas=replicas)], previous=["root/t"])
    targets = [target("t", quotas={"root:shop": {"cpu": 4.0}})]
    reserved = [taken("root:shop", "web", cpu=4.0, pods=4.0), taken("root:shop", cpu=1.0)]
    assert (decide(asked, targets, snapshot=snapshot_of(targets, reserved)).proposal.refusal is None) is placed


def room(name: str, cpu: float | None) -> Target:
    """A target with 10 cores, of which root:shop may have so many."""
    return target(name, quotas={} if cpu is None else {"root:shop": {"cpu": cpu}})


@pytest.mark.parametrize(
    ("division", "replicas", "quotas", "expected"),
    [
        ("Dynamic", 8, (2.0, 6.0), {"root/t0": 2, "root/t1": 6}),  # in proportion to room: 2 to 6
        ("Dynamic", 10, (4.0, None), {"root/t0": 3, "root/t1": 7}),  # 4 to 10: 10/14 of each is 2.9 and 7.1
        ("Weighted", 6, (1.0, 8.0), {"root/t0": 1, "root/t1": 5}),  # 3 each, if it were not for the quota
        ("Aggregated", 6, (4.0, 3.0), {"root/t0": 4, "root/t1": 2}),  # neither has room for all
        ("Aggregated", 3, (0.0, 3.0), {"root/t1": 3}),
    ],
)
def test_replicas_are_divided_within_quotas(division, replicas, quotas, expected) -> None:
    spec = {"targets": {"all": True}, "replicas": {"division": division}}
    asked = request(spec, workload=[deployment(replicas=replicas)])
    targets = [room(f"t{number}", cpu) for number, cpu in enumerate(quotas)]
    proposal = decide(asked, targets).proposal
    assert {choice.target: choice.replicas for choice in proposal.selected} == expected


def test_replicas_that_find_no_room_within_quotas_are_refused() -> None:
    spec = {"targets": {"all": True}, "replicas": {"division": "Dynamic"}}
    asked = request(spec, workload=[deployment(replicas=9)])
    refusal = decide(asked, [room("a", 3.0), room("b", 5.5)]).proposal.refusal
    assert refusal is not None
    assert refusal.code == "InsufficientCapacity"
    assert refusal.message.endswith("have room for 8 within their quotas")


def test_columns_of_quotas_follow_targets_and_reservations() -> None:
    snapshot = Snapshot()
    snapshot.put(room("a", 4.0))
    snapshot.put(room("b", None))

    def left_of(name: str) -> float:
        return float(snapshot.values("quota_left", ("root:shop", "cpu"))[snapshot.rows[f"root/{name}"]])

    assert snapshot.quotas("root:shop:dev") == ["root:shop"]
    assert (left_of("a"), left_of("b")) == (4.0, float("inf"))
    snapshot.reserve(*taken("root:shop:dev", at="root/a", cpu=1.5))
    snapshot.reserve(*taken("root:rival", at="root/a", cpu=1.0))
    assert left_of("a") == 2.5
    snapshot.put(room("a", 2.0))
    snapshot.put(room("b", 7.0))
    assert (left_of("a"), left_of("b")) == (0.5, 7.0)
    snapshot.release("root/a", taken("root:shop:dev")[1].placement)
    assert left_of("a") == 2.0
    snapshot.remove("root/a")
    snapshot.put(room("b", None))
    assert snapshot.quotas("root:shop:dev") == []


def test_where_no_target_has_a_quota_nothing_is_looked_up() -> None:
    targets = [target("t")]
    asked = candidates_of(asking(cpu=1.0), targets)
    assert asked.quotas == []
    snapshot = snapshot_of(targets)
    decide(asking(cpu=1.0), targets, snapshot=snapshot)
    assert "quota_left" not in {family for family, _ in snapshot._columns}


PATHS = ["", "root", "root:a", "root:a!", "root:a:x", "root:b"]
WORKSPACES = ["root:a", "root:a:x", "root:b"]


def make_fleet(seed: int) -> tuple[list[Target], list[Request]]:
    random = Random(seed)

    def hard() -> dict[str, float]:
        return {name: random.choice([0.0, 0.3, 2.0, 5.0]) for name in random.sample(["cpu", "memory", "pods"], 2)}

    fleet = [
        target(f"t{n}", quotas={path: hard() for path in random.sample(PATHS, random.randrange(4))}) for n in range(4)
    ]
    asked = []
    for number in range(12):
        division = random.choice(["Duplicated", "Weighted", "Dynamic", "Aggregated"])
        spec: dict[str, Any] = {"replicas": {"division": division}, "targets": {"count": {"min": 1, "max": 3}}}
        workload = [
            deployment(f"w{n}", random.choice([None, 1, 2, 5]), cpu=random.choice([0.1, 0.5, 1.0]), memory=0.1)
            for n in range(random.randint(1, 2))
        ]
        one = request(spec, workload=workload)
        ref = PlacementRef(workspace=random.choice(WORKSPACES), namespace="shop", name=f"p{number % 8}")
        asked.append(msgspec.structs.replace(one, placement=ref))
    return fleet, asked


@given(st.integers(0, 2**32).map(make_fleet))
def test_placed_one_after_the_other_no_tenant_has_more_than_its_quota_anywhere(drawn) -> None:
    fleet, asked = drawn
    snapshot = snapshot_of(fleet)
    for each in asked:
        selected = decide(each, fleet, snapshot=snapshot).proposal.selected
        if not selected:
            continue
        for at in list(snapshot.taken.reservations.get(each.placement, ())):
            snapshot.release(at, each.placement)
        for choice in selected:
            snapshot.reserve(choice.target, Reservation(placement=each.placement, head=HEAD, resources=choice.reserve))
    everything = [(at, held) for every in snapshot.taken.reservations.values() for at, held in every.items()]
    for one in fleet:
        for path, hard in one.quotas.items():
            covered = [h.resources for at, h in everything if at == one.id and lies_in(h.placement.workspace, path)]
            for resource, most in hard.items():
                assert sum(each.get(resource, 0.0) for each in covered) <= most + 1e-6


@given(st.integers(0, 2**32).map(make_fleet), st.sampled_from(WORKSPACES))
def test_scheduler_and_decision_agree_on_what_is_left(drawn, workspace) -> None:
    fleet, asked = drawn
    snapshot = snapshot_of(fleet)
    for number, each in enumerate(asked):
        held = Reservation(placement=each.placement, head=HEAD, resources={"cpu": 0.1 * number, "pods": 1.0})
        snapshot.reserve(f"root/t{number % 4}", held)
    for one in fleet:
        others = [every[one.id] for every in snapshot.taken.reservations.values() if one.id in every]
        by_decision = left(one.quotas, workspace, others)
        for resource in ("cpu", "memory", "pods"):
            columns = [snapshot.values("quota_left", (path, resource)) for path in snapshot.quotas(workspace)]
            by_scheduler = min((column[snapshot.rows[one.id]] for column in columns), default=float("inf"))
            assert by_scheduler == pytest.approx(by_decision.get(resource, float("inf")))
