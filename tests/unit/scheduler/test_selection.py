"""Topology: which targets are taken under spread constraints."""

from collections import Counter

import pytest

from shared.api import ZONE_LABEL
from shared.model.decision import Reservation
from shared.model.refs import Head
from tests.unit.scheduler.builders import REGION, decide, placement, request, snapshot_of, target


def by_region(sizes, **facts):
    """So many targets per region; the more cpu is taken, the worse: earlier regions are better."""
    return [
        target(f"{region}{n}", region=region, allocated={"cpu": float(place)}, **facts)
        for place, (region, size) in enumerate(sizes.items())
        for n in range(size)
    ]


def spread(count, *, most=None, strategy="BestFit", **constraint):
    bounds = {"min": count, "max": most or count}
    return request(
        {
            "targets": {"count": bounds},
            "strategy": {"type": strategy},
            "spread": [{"topologyKey": REGION, **constraint}],
        }
    )


def taken(asked, fleet):
    proposal = decide(asked, fleet).proposal
    assert proposal.refusal is None, proposal.refusal
    regions = {each.id: each.labels.get(REGION) for each in fleet}
    return dict(Counter(regions[choice.target] for choice in proposal.selected))


@pytest.mark.parametrize(
    ("asked", "sizes", "expected"),
    [
        (spread(2), {"a": 5, "b": 5}, {"a": 1, "b": 1}),
        (spread(3), {"a": 5, "b": 5}, {"a": 2, "b": 1}),
        (spread(4, maxSkew=3), {"a": 5, "b": 5}, {"a": 3, "b": 1}),
        (spread(4, maxSkew=3, strategy="Spread"), {"a": 5, "b": 5}, {"a": 2, "b": 2}),
        (spread(1, most=9), {"a": 1, "b": 5}, {"a": 1, "b": 2}),
        (spread(6, whenUnsatisfiable="ScheduleAnyway"), {"a": 1, "b": 5}, {"a": 1, "b": 5}),
        (spread(4, maxSkew=9, minDomains=3), {"a": 5, "b": 5, "c": 5}, {"a": 2, "b": 1, "c": 1}),
        (spread(4, maxDomains=2), {"a": 5, "b": 5, "c": 5}, {"a": 2, "b": 2}),
        (spread(4, maxDomains=2), {"a": 1, "b": 5, "c": 5}, {"b": 2, "c": 2}),  # with a, only 1 + 2
        (spread(2, maxDomains=1), {"a": 1, "b": 2}, {"b": 2}),
        (spread(1, maxDomains=1), {"a": 1, "b": 2}, {"a": 1}),
        (spread(5, maxDomains=2, maxSkew=3), {"a": 2, "b": 2, "c": 3}, {"a": 2, "c": 3}),
        (spread(3, most=6, minDomains=2, maxDomains=2, maxSkew=3), {"a": 2, "b": 2, "c": 3}, {"a": 2, "c": 3}),
    ],
)
def test_domains_are_filled_within_the_skew(asked, sizes, expected) -> None:
    assert taken(asked, by_region(sizes)) == expected


def test_two_keys_hold_at_once() -> None:
    asked = request(
        {
            "targets": {"count": {"min": 4}},
            "spread": [{"topologyKey": REGION}, {"topologyKey": ZONE_LABEL, "maxSkew": 1}],
        }
    )
    fleet = [
        target(f"{region}{zone}{n}", region=region, labels={ZONE_LABEL: f"{region}{zone}"})
        for region in "ab"
        for zone in "12"
        for n in range(3)
    ]
    zones = {each.id: each.labels[ZONE_LABEL] for each in fleet}
    chosen = Counter(zones[choice.target] for choice in decide(asked, fleet).proposal.selected)
    assert chosen == {"a1": 1, "a2": 1, "b1": 1, "b2": 1}


def test_what_the_skew_leaves_too_few_of_is_refused() -> None:
    refusal = decide(spread(4), by_region({"a": 1, "b": 5})).proposal.refusal
    assert refusal is not None
    assert (refusal.code, refusal.message) == (
        "TooFewTargets",
        "4 targets are wanted; 6 fit, and the spread constraints allow 3 of them",
    )


def test_targets_stay_although_others_would_be_more_even() -> None:
    asked = request({"targets": {"count": {"min": 2}}, "strategy": {"type": "Spread"}}, previous=["root/a0", "root/a1"])
    assert taken(asked, by_region({"a": 2, "b": 2})) == {"a": 2}


def test_a_must_moves_the_least_that_it_takes() -> None:
    asked = request(
        {"targets": {"count": {"min": 3}}, "spread": [{"topologyKey": REGION}]},
        previous=["root/b0", "root/b1", "root/b2"],
    )
    selected = {choice.target for choice in decide(asked, by_region({"a": 3, "b": 3})).proposal.selected}
    assert len(selected & {"root/b0", "root/b1", "root/b2"}) == 2


@pytest.mark.parametrize(("kind", "code", "where"), [
    ("placementAffinity", None, "root/b0"),
    ("placementAntiAffinity", None, "root/a0"),
])  # fmt: skip
def test_neighbours_draw_near_or_keep_away(kind, code, where) -> None:
    term = {"selector": {"matchLabels": {"app": "db"}}, "topologyKey": REGION}
    fleet = by_region({"a": 1, "b": 2})
    snapshot = snapshot_of(fleet)
    head = Head(uid="u", generation=1, attempt=1)
    db = Reservation(placement=placement("db"), head=head, resources={"cpu": 1.0}, labels={"app": "db"})
    snapshot.reserve("root/b1", db)
    asked = request({"affinity": {kind: [term]}, "targets": {"names": ["a0", "b0"]}})
    (choice,) = decide(asked, fleet, snapshot=snapshot).proposal.selected
    assert choice.target == where


def test_a_placement_may_be_the_first_of_those_that_want_to_be_together() -> None:
    term = {"selector": {"matchLabels": {"app": "db"}}, "topologyKey": REGION}
    spec = {"affinity": {"placementAffinity": [term]}}
    assert decide(request(spec, labels={"app": "db"}), by_region({"a": 1})).proposal.refusal is None
    refusal = decide(request(spec), by_region({"a": 1})).proposal.refusal
    assert refusal is not None
    assert refusal.message == "0/1 targets: 1 without a placement to be near"


def test_of_two_that_refuse_each_other_the_second_gives_way() -> None:
    term = {"selector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}, "topologyKey": REGION}
    spec = {"affinity": {"placementAntiAffinity": [term]}}
    fleet = by_region({"a": 1, "b": 1})
    snapshot, chosen = snapshot_of(fleet), []
    for name in ("one", "two", "three"):
        proposal = decide(request(spec, name=name, labels={"app": name}), fleet, snapshot=snapshot).proposal
        for choice in proposal.selected:
            head = Head(uid=name, generation=1, attempt=1)
            reservation = Reservation(
                placement=placement(name), head=head, resources=choice.reserve, labels={"app": name}
            )
            snapshot.reserve(choice.target, reservation)
        chosen.append([choice.target for choice in proposal.selected] or proposal.refusal.message)
    assert chosen == [["root/a0"], ["root/b0"], "0/2 targets: 2 near an unwanted placement"]
