"""The brake: when most targets are lost at once, none is left."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.controller.core.brake import REGION, BrakeSettings, brake
from shared.model.target import Target

SETTINGS = BrakeSettings(share=0.55, window=600.0)
AT = 10_000.0


def targets(workspace: str, *lost_since: float, region: str = "", **fields: Any) -> list[Target]:
    """One target per number: since when it is lost, or 0."""
    labels = {REGION: region} if region else {}
    return [
        Target(workspace=workspace, name=f"{region}{number}", labels=labels, lost_since=since, **fields)
        for number, since in enumerate(lost_since)
    ]


def held(found: list[Target], **settings: Any) -> set[str]:
    return set(brake(found, BrakeSettings(**{"share": 0.55, "window": 600.0, **settings})))


@pytest.mark.parametrize(
    ("lost_since", "brakes"),
    [
        ((0, 0, 0, 0, 0, 0), False),
        ((AT, 0, 0, 0, 0, 0), False),
        ((AT, AT, AT, 0, 0, 0), False),  # half
        ((AT, AT + 9, AT + 20, AT + 21, AT + 22, 0), True),  # five of six
        ((AT, AT, AT), True),
        ((AT, AT), False),  # of two, most are lost when one is
        ((AT,), False),
        ((AT, AT + 500, AT + 1000, AT + 1500, 0), True),  # one after the other, with no longer pause than the window
        ((AT, AT + 700, AT + 1400, AT + 2100, 0), False),  # each for itself
        ((1, 2, 3, 4, 5, 6, AT, AT, AT, 0, 0, 0), False),  # what was lost long ago counts for neither side ...
        ((1, 2, 3, 4, 5, 6, AT, AT, AT, AT, 0, 0), True),  # ... so that four of six are most
    ],
)
def test_it_is_on_when_most_that_were_there_are_lost_at_once(lost_since: tuple[float, ...], brakes: bool) -> None:
    found = held(targets("root:p", *lost_since))
    assert found == ({each.id for each in targets("root:p", *lost_since) if each.lost_since > 100} if brakes else set())


def test_targets_that_are_only_doubted_count_before_all_agree_that_they_are_lost() -> None:
    found = targets("root:p", AT, 0, 0, 0)
    doubted = [Target(workspace="root:p", name=f"d{n}", doubted_at=AT + n) for n in range(3)]
    assert held(found) == set()
    assert "root:p/0" in held([*found[:2], *doubted])


def test_a_region_is_a_scope_of_its_own() -> None:
    east, west = targets("root:p", AT, AT, AT, 0, region="east"), targets("root:p", *[0] * 10, region="west")
    assert held([*east, *west]) == {each.id for each in east if each.lost_since}
    assert {why.scope for why in brake([*east, *west], SETTINGS).values()} == {"region east"}


def test_workspaces_with_a_target_each_are_held_when_most_of_all_are_lost() -> None:
    found = [each for name in "abcdef" for each in targets(f"root:{name}", 0 if name == "f" else AT)]
    assert len(held(found)) == 5


def test_a_tenant_that_loses_targets_of_its_own_holds_nobody_elses() -> None:
    """However many targets and workspaces of its own it makes for that, in whatever region it says that they are."""
    provider = targets("root:platform", AT, 0, 0, 0, 0, region="east")
    hostile = [each for number in range(50) for each in targets(f"root:evil:{number}", *[AT] * 20, region="east")]
    assert not held([*provider, *hostile]) & {each.id for each in provider}


def test_there_is_no_brake_when_the_share_is_one() -> None:
    assert held(targets("root:p", AT, AT, AT, AT), share=1.0) == set()


LOST = st.one_of(st.just(0.0), st.floats(1.0, 10_000.0))


@given(st.lists(st.tuples(st.sampled_from(["root", "root:a", "root:a:b", "root:c", ""]), LOST), max_size=30))
def test_it_holds_lost_targets_alone_and_does_not_depend_on_their_order(known: list[tuple[str, float]]) -> None:
    found = [Target(workspace=path, name=str(n), lost_since=since) for n, (path, since) in enumerate(known)]
    result = brake(found, SETTINGS)
    assert set(result) <= {each.id for each in found if each.lost_since}
    assert result.keys() == brake(found[::-1], SETTINGS).keys()
