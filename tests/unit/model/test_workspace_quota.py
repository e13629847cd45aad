"""Quotas over all targets: whom they bound, what they lack, what a placement takes more."""

from hypothesis import given
from hypothesis import strategies as st

from shared.model.quota import WorkspaceQuota, digest_of, growth, shortage
from shared.model.refs import PlacementRef

QUOTA = WorkspaceQuota(
    workspace="root", name="team", uid="u", bounds="root:team", hard={"cpu": 2.0, "memory": 2.0**30, "placements": 1.0}
)


def ref(workspace: str, namespace: str = "apps") -> PlacementRef:
    return PlacementRef(workspace=workspace, namespace=namespace, name="web")


def test_it_covers_its_workspace_and_all_below_or_a_namespace_of_these() -> None:
    assert QUOTA.covers(ref("root:team"))
    assert QUOTA.covers(ref("root:team:shop"))
    assert not QUOTA.covers(ref("root:teams"))
    assert not QUOTA.covers(ref("root"))
    shop = WorkspaceQuota(workspace="", name="shop", uid="u", bounds="", namespace="shop", hard={})
    assert shop.covers(ref("", "shop"))
    assert not shop.covers(ref("", "apps"))


def test_one_that_is_made_anew_has_another_place() -> None:
    again = WorkspaceQuota(workspace="root", name="team", uid="v", bounds="root:team", hard={})
    assert again.place != QUOTA.place


def test_a_shortage_says_how_much_is_used_and_asked_for() -> None:
    short = shortage(QUOTA, {"cpu": 1.5, "memory": 2.0**29}, {"cpu": 1.0, "memory": 2.0**29, "pods": 100.0})
    assert str(short) == (
        "the quota team of root over all clusters leaves too little: 1.5 of 2 cpu used and 1 more asked for"
    )
    short = shortage(QUOTA, {"placements": 1.0, "memory": 2.0**30}, {"placements": 1.0, "memory": 2.0**29})
    assert "1Gi of 1Gi memory used and 512Mi more asked for, 1 of 1 placements used and 1 more" in str(short)


def test_where_it_was_lowered_what_is_used_stays_and_nothing_grows() -> None:
    assert shortage(QUOTA, {"cpu": 5.0}, {"cpu": 0.0, "memory": 1.0}) is None
    assert shortage(QUOTA, {"cpu": 5.0}, {"cpu": 0.001}) is not None


def test_what_is_left_in_one_target_is_no_room_in_another() -> None:
    assert growth({"a": {"cpu": 3.0}, "b": {"cpu": 1.0}}, {"a": {"cpu": 1.0}, "c": {"cpu": 9.0}}) == {"cpu": 3.0}
    assert growth({"a": {"cpu": 1.0}}, {"a": {"cpu": 2.0, "memory": 1.0}}) == {"cpu": 0.0}
    assert growth({}, {"a": {"cpu": 2.0}}) == {}


AMOUNTS = st.dictionaries(
    st.sampled_from("abc"), st.fixed_dictionaries({"cpu": st.integers(0, 5).map(float)}), max_size=3
)


@given(AMOUNTS, AMOUNTS)
def test_what_is_held_and_the_growth_are_enough_for_both_at_once(wanted, held) -> None:
    most = sum(
        max(wanted.get(each, {}).get("cpu", 0.0), held.get(each, {}).get("cpu", 0.0)) for each in {*wanted, *held}
    )
    assert sum(each["cpu"] for each in held.values()) + growth(wanted, held).get("cpu", 0.0) == most


def test_a_digest_tells_what_is_wanted_where_whatever_the_order() -> None:
    one, other = {"a": {"cpu": 1.0}, "b": {"cpu": 2.0}}, {"b": {"cpu": 2.0}, "a": {"cpu": 1.0}}
    assert digest_of(one) == digest_of(other)
    assert digest_of(one) != digest_of({"a": {"cpu": 2.0}, "b": {"cpu": 1.0}})
