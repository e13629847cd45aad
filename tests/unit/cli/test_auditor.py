"""What an audit finds, and what it does not hold against anybody."""

import msgspec
import pytest

from services.cli.hub.auditor import ALWAYS, Discrepancy, Evidence, audit
from shared.api import PlacementDecisionStatus, ScoredTarget
from shared.model.decision import Reservation
from shared.model.refs import PlacementRef, TargetRef
from shared.model.resources import Resources
from tests.support.values import head

NOW = 1000.0
WEB = PlacementRef(workspace="root:team", namespace="apps", name="web")
API = PlacementRef(workspace="root:team", namespace="apps", name="api")
EAST = "root:platform/east"
NEXT = PlacementRef(workspace="root:team", namespace="apps", name="next").nomination


def held(ref: PlacementRef, cpu: float, at: float = NOW) -> Reservation:
    return Reservation(placement=ref, head=head(), resources={"cpu": cpu}, reserved_at=at)


def chosen(*targets: str, cpu: float = 0.0) -> PlacementDecisionStatus:
    reserved = {"cpu": cpu}
    selected = (ScoredTarget(target=TargetRef.parse(each).reference, score=50.0, reserved=reserved) for each in targets)
    return PlacementDecisionStatus(attempt=1, selected=tuple(selected))


def beside(some: Reservation, **more: object) -> dict[tuple[PlacementRef, str], Reservation]:
    """What two placements reserve, and another one."""
    both = {(WEB, EAST): held(WEB, 2.0), (API, EAST): held(API, 2.0)}
    return {**both, (some.placement, EAST): msgspec.structs.replace(some, **more)}


def evidence(**changes: object) -> Evidence:
    """Two placements of 2 cores each, in a target of 4."""
    both = {(WEB, EAST): held(WEB, 2.0), (API, EAST): held(API, 2.0)}
    requests: dict[tuple[PlacementRef, str], Resources] = {place: {"cpu": 2.0} for place in both}
    well = Evidence(
        now=NOW,
        room={EAST: {"cpu": 4.0}},
        reserved=both,
        reserved_before=both,
        decided={WEB: chosen(EAST), API: chosen(EAST)},
        bound=frozenset(both),
        applied=requests,
        sets=frozenset(both),
        unseen={},
    )
    return msgspec.structs.replace(well, **changes)


def codes(found: list[Discrepancy]) -> list[str]:
    return [each.code for each in found]


def test_nothing_is_found_where_all_agrees() -> None:
    assert audit(evidence()) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"room": {EAST: {"cpu": 3.0}}}, ["OverReserved", "OverApplied"], id="a target has less"),
        pytest.param({"room": {}}, [], id="nothing is known of a target"),
        pytest.param(
            {"applied": {(WEB, EAST): {"cpu": 2.5}, (API, EAST): {"cpu": 1.0}}},
            ["AppliedBeyondDecision"],
            id="one runs with more than is decided",
        ),
        pytest.param(
            {"applied": {(WEB, "root:platform/west"): {"cpu": 1.0}}},
            ["AppliedBeyondDecision"],
            id="one runs where nothing is reserved",
        ),
        pytest.param(
            {"decided": {WEB: chosen(EAST, cpu=2.5), API: chosen(EAST)}, "applied": {(WEB, EAST): {"cpu": 2.5}}},
            ["AppliedBeyondReservation"],
            id="one runs as it was decided and has less reserved",
        ),
        pytest.param(
            {"reserved": {(WEB, EAST): held(WEB, 2.0)}, "reserved_before": {}, "applied": {}},
            ["DecidedWithoutReservation"],
            id="one is decided and has nothing reserved",
        ),
        pytest.param({"reserved": {}}, [], id="what is reserved was given back while everything was looked at"),
        pytest.param({"reserved_before": {}}, [], id="what is reserved was taken while everything was looked at"),
        pytest.param(
            {"decided": {API: chosen(EAST)}, "bound": frozenset({(API, EAST)}), "sets": frozenset({(API, EAST)})},
            [],
            id="one is being decided",
        ),
        pytest.param(
            {
                "decided": {API: chosen(EAST)},
                "bound": frozenset({(API, EAST)}),
                "sets": frozenset({(API, EAST)}),
                "now": NOW + 61.0,
            },
            ["ReservedWithoutDecision"],
            id="one was reserved long ago and not decided",
        ),
        pytest.param(
            {"decided": {API: chosen(EAST)}, "now": NOW + 61.0}, [], id="one is not selected any more and still bound"
        ),
        pytest.param(
            {"reserved": beside(held(NEXT, 3.0), victims=(WEB,), until=NOW + 9)}, [], id="others leave for one"
        ),
        pytest.param(
            {"reserved": beside(held(NEXT, 0.0), until=NOW + 99), "now": NOW + 61},
            [],
            id="room is held for one to come",
        ),
        pytest.param({"bound": frozenset({(API, EAST)})}, ["AppliedWithoutBinding"], id="one has a set and no binding"),
        pytest.param({"unseen": {"target east": "refused"}}, ["NotSeen"], id="a target could not be read"),
    ],
)
def test_what_does_not_agree_is_found(changes: dict[str, object], expected: list[str]) -> None:
    assert codes(audit(evidence(**changes))) == expected


def test_a_finding_says_where_whose_and_how_much() -> None:
    (found,) = audit(evidence(applied={(WEB, EAST): {"cpu": 2.5}}))
    assert found == Discrepancy(
        code="AppliedBeyondDecision", target=EAST, placement=WEB.id, message="2.5 cpu applied, 2 reserved, 0 decided"
    )
    assert found.code in ALWAYS
