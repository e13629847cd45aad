"""Which overrides are in force for a placement, in which order, and what each says of itself."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.controller.core.digest import change, digest
from shared.api import MOST_OVERRIDES, PlacementOverride, PlacementSpec, decode_override
from shared.hub.overriding import Authority, concerns, ended, in_order, status_of
from shared.model.refs import PlacementRef
from shared.model.request import Cause

WEB = PlacementRef(workspace="root:team", namespace="default", name="web")
MAY = Authority(placements="Allowed")
NOW = 1_000_000.0


def override(name: str = "o", kind: str = "Force", **spec: object) -> PlacementOverride:
    given_spec = {
        "type": kind, "targets": [{"name": "eu"}], "reason": "r", **({} if "placementSelector" in spec else
        {"placementRef": {"name": "web"}}), **spec,
    }  # fmt: skip
    meta = {"name": name, "uid": name, "generation": 2}
    return decode_override(
        {
            "apiVersion": "placement.moorage.io/v1alpha1",
            "kind": "PlacementOverride",
            "metadata": meta,
            "spec": given_spec,
        }
    )


@pytest.mark.parametrize(
    ("spec", "concerned"),
    [
        ({"placementRef": {"name": "web"}}, True),
        ({"placementRef": {"name": "web", "namespace": "default"}}, True),
        ({"placementRef": {"name": "web", "namespace": "shop"}}, False),
        ({"placementRef": {"name": "db"}}, False),
        ({"placementRef": {"name": "web", "uid": "u"}}, True),
        ({"placementRef": {"name": "web", "uid": "of-the-one-before"}}, False),
        ({"placementSelector": {"matchLabels": {"app": "web"}}}, True),
        ({"placementSelector": {"matchLabels": {"app": "db"}}}, False),
        ({"placementSelector": {}}, True),
    ],
)
def test_an_override_is_about_the_placement_that_it_names_or_those_with_its_labels(spec, concerned):
    assert concerns(override(**spec).spec, WEB, "u", {"app": "web"}) is concerned


def test_it_ends_at_its_time():
    spec = override(expiresAt="1970-01-12T13:46:40Z").spec  # NOW
    assert not ended(spec, NOW - 0.001)
    assert ended(spec, NOW)
    assert not ended(override().spec, NOW)


def names(*found: tuple[str, PlacementOverride, Authority]) -> list[str]:
    return [each.name for each in in_order(found)]


def test_the_workspace_further_up_wins_then_the_priority_then_the_more_careful():
    ranked = [
        ("root", override("a"), MAY),
        ("root:team", override("b", priority=9), MAY),
        ("root:team", override("c", "Exclude"), MAY),
        ("root:team", override("d"), MAY),
        ("root:team", override("e"), MAY),
        ("root:team", override("f", "Avoid"), MAY),
        ("root:team", override("g", "Prefer"), MAY),
        ("root:team", override("h", "Exclude", priority=-1), MAY),
    ]
    for order in list(permutations(ranked))[::997]:
        assert names(*order) == ["a", "b", "c", "d", "e", "f", "g", "h"]


def test_nobody_forces_anything_upon_a_target_whose_side_excludes_it():
    theirs = Authority(placements="Denied", targets={"eu": "Allowed", "us": "Denied"})
    spec = {"targets": [{"name": "eu"}, {"name": "us"}, {"name": "eu", "workspace": "root:elsewhere"}]}
    first, second = in_order(
        [("root", override("force", priority=100), MAY), ("root:team", override("out", "Exclude", **spec), theirs)]
    )
    assert (first.name, second.name) == ("out", "force")
    assert [(each.workspace, each.name) for each in first.targets] == [("root:team", "eu")], (
        "of its own workspace alone"
    )


@pytest.mark.parametrize("kind", ["Force", "Prefer"])
def test_who_may_override_targets_alone_cannot_attract(kind):
    assert not in_order([("root", override(kind=kind), Authority(placements="Denied", targets={"eu": "Allowed"}))])


@pytest.mark.parametrize("permission", ["Denied", "Unknown", "NoRequester"])
@pytest.mark.parametrize("kind", ["Force", "Exclude", "Prefer", "Avoid"])
def test_who_may_not_override_does_not(kind, permission):
    assert not in_order([("root", override(kind=kind), Authority(placements=permission, targets={"eu": permission}))])


def test_no_more_are_in_force_than_a_decision_has_room_for():
    assert len(in_order([("root", override(f"o{n:03}"), MAY) for n in range(50)])) == MOST_OVERRIDES


drawn_overrides = st.tuples(
    st.sampled_from(["root", "root:team"]),
    st.sampled_from(["Force", "Exclude", "Prefer"]),
    st.integers(-2, 2),
    st.booleans(),
)


@given(st.lists(drawn_overrides, max_size=8), st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_how_they_came(drawn, random):
    found = [
        (
            path,
            override(f"o{n}", kind, priority=priority),
            MAY if may else Authority(placements="Denied", targets={"eu": "Allowed"}),
        )
        for n, (path, kind, priority, may) in enumerate(drawn)
    ]
    assert in_order(random.sample(found, len(found))) == in_order(found)


def said(of: PlacementOverride, authority: Authority, author: str = "alice") -> tuple[str, str]:
    (condition,) = status_of(of, "root:team", authority, author, NOW, "2026-11-28T00:00:00Z").conditions
    assert condition.observed_generation == 2
    return condition.status, condition.reason


def test_each_says_whether_it_is_in_force_and_why_not():
    assert said(override(), MAY) == ("True", "InForce")
    assert said(override(expiresAt="1970-01-01T00:00:00Z"), MAY) == ("False", "Expired")
    assert said(override(), Authority(placements="Denied")) == ("False", "NotAuthorized")
    assert said(override(), Authority(placements="NoRequester"), "") == ("False", "NoAuthor")
    assert said(override(), Authority(placements="Unknown")) == ("Unknown", "AuthorizationUnknown")
    part = override(kind="Exclude", targets=[{"name": "eu"}, {"name": "us"}])
    targets = Authority(placements="Denied", targets={"eu": "Allowed", "us": "Denied"})
    assert said(part, targets) == ("True", "InForceInPart")
    assert said(override(kind="Exclude"), targets) == ("True", "InForce")
    assert said(override(kind="Force"), targets) == ("False", "NotAuthorized")


def test_a_status_that_says_the_same_stays_the_same():
    first = status_of(override(), "root", MAY, "alice", NOW, "2026-11-28T00:00:00Z")
    found = PlacementOverride(metadata=override().metadata, spec=override().spec, status=first)
    assert status_of(found, "root", MAY, "alice", NOW + 60, "2026-11-28T00:01:00Z") == first


def test_a_digest_has_a_part_for_overrides_only_where_there_are_any():
    plain = digest(PlacementSpec(), {}, None, (), "", ())
    (one,) = in_order([("root", override(), MAY)])
    overridden = digest(PlacementSpec(), {}, None, (), "", (), overrides=(one,))
    assert plain.count(".") == 2
    assert overridden.startswith(f"{plain}.")
    assert change(plain, overridden) == change(overridden, plain) == Cause(code="OverrideChanged")
    other = digest(PlacementSpec(), {"a": "b"}, None, (), "", (), overrides=(one,))
    assert change(overridden, other) == Cause(code="SpecChanged")
