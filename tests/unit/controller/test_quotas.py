"""Which quotas of a workspace hold: the oldest, and not too many that bound the same; all say why they do not."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.controller.core.quotas import MOST_ALIKE, Void, judged, status_of
from shared.api import PlacementQuota, decode_quota
from shared.model.quota import WorkspaceQuota

ORG = "root:org"


def quota(name: str, workspace: str = "team", *, second: int = 0, namespace: str = "") -> PlacementQuota:
    spec: dict[str, Any] = {"workspace": workspace, "hard": {"cpu": "1"}}
    return decode_quota(
        {
            "apiVersion": "placement.moorage.io/v1alpha1",
            "kind": "PlacementQuota",
            "metadata": {"name": name, "uid": f"uid-{name}", "creationTimestamp": f"2026-01-01T00:00:{second:02}Z"},
            "spec": {**spec, "namespace": namespace} if namespace else spec,
        }
    )


def reasons(quotas: Sequence[PlacementQuota], most: int = 0, workspace: str = ORG) -> dict[str, str]:
    """Why each does not hold; empty where it does."""
    found = judged(workspace, quotas, most)
    return {name: each.reason if isinstance(each, Void) else "" for name, each in found.items()}


def test_the_oldest_hold_whatever_is_written_after_them() -> None:
    flood = [quota(f"a-{number}", f"below-{number}", second=2) for number in range(20)]
    said = reasons([*flood, quota("z", second=1)], most=3)
    assert [name for name, why in said.items() if not why] == ["z", "a-0", "a-1"]
    assert set(said.values()) == {"", "TooMany"}


def test_of_those_that_bound_the_same_few_hold_and_others_are_not_kept_out_by_them() -> None:
    alike = [quota(f"a-{number}", second=number) for number in range(MOST_ALIKE + 2)]
    said = reasons([*alike, quota("other", "shop", second=9), quota("part", namespace="shop", second=9)], most=6)
    assert [name for name, why in said.items() if why] == ["a-4", "a-5"]
    assert said["a-5"] == "TooManyAlike"


def test_one_that_goes_makes_room_for_the_next() -> None:
    three = [quota(name, name, second=number) for number, name in enumerate("abc")]
    assert reasons(three, most=2)["c"] == "TooMany"
    assert not reasons(three[1:], most=2)["c"]


def test_those_that_bound_nobody_take_no_room() -> None:
    said = reasons([quota("self", "", second=1), quota("team", second=2)], most=1)
    assert said == {"self": "BoundsItself", "team": ""}
    assert reasons([quota("team"), quota("all", "")], most=1, workspace="") == {"all": "", "team": "NoSuchWorkspace"}


def test_one_that_does_not_hold_says_so_and_shows_no_figures() -> None:
    several = [quota("a"), quota("b", "shop", second=1)]
    found = judged(ORG, several, 1)
    status = status_of(several[1], found["b"], {"cpu": 1.0}, counted=True, now="2026-01-01T00:00:00Z")
    assert (status.hard, status.used) == ({}, {})
    (condition,) = status.conditions
    assert (condition.status, condition.reason) == ("False", "TooMany")
    assert condition.message == "The 1 oldest quotas of a workspace hold; delete others, or this one."


@given(
    st.lists(st.tuples(st.sampled_from(["", "a", "b"]), st.sampled_from(["", "n"]), st.integers(0, 3)), max_size=30),
    st.integers(0, 10),
    st.data(),
)
def test_who_comes_later_never_displaces_one_that_holds(
    made: list[tuple[str, str, int]], most: int, data: st.DataObject
) -> None:
    quotas = [
        quota(f"q{number:02}", workspace, second=second, namespace=namespace)
        for number, (workspace, namespace, second) in enumerate(made)
    ]
    before = judged(ORG, quotas, most)
    later = quota("zz", data.draw(st.sampled_from(["a", "b"])), second=4)
    after = judged(ORG, data.draw(st.permutations([*quotas, later])), most)
    assert {name: each for name, each in after.items() if name != "zz"} == before
    holding = [each for each in after.values() if isinstance(each, WorkspaceQuota)]
    assert not most or len(holding) <= most
    assert all(isinstance(after[each.metadata.name], Void) for each in quotas if not each.spec.workspace)
