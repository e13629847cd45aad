"""Which quotas hold for a workspace, and what they leave it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.model.decision import Reservation
from shared.model.quota import enclosing, left, lies_in
from shared.model.refs import Head, PlacementRef

HEAD = Head(uid="u", generation=1, attempt=1)
names = st.sampled_from(["root", "a", "ab", "b"])
workspaces = st.lists(names, max_size=4).map(":".join)


def taken(workspace: str, **resources: float) -> Reservation:
    return Reservation(
        placement=PlacementRef(workspace=workspace, namespace="shop", name="web"), head=HEAD, resources=resources
    )


@pytest.mark.parametrize(
    ("workspace", "paths"),
    [
        ("root:a:b", ("", "root", "root:a", "root:a:b", "root:a:b!")),
        ("root", ("", "root", "root!")),
        ("", ("",)),
    ],
)
def test_a_workspace_lies_in_all_above_it_in_itself_and_in_itself_alone(workspace, paths) -> None:
    assert enclosing(workspace) == paths


@given(workspaces, st.tuples(workspaces, st.sampled_from(["", "!"])).map("".join))
def test_to_lie_in_a_path_is_to_be_enclosed_by_it(workspace, path) -> None:
    if path != "!":  # no path, the API refuses it
        assert lies_in(workspace, path) == (path in enclosing(workspace))


def test_neither_a_sibling_of_a_longer_name_nor_a_parent_lies_in_a_path() -> None:
    assert not lies_in("root:ab", "root:a")
    assert not lies_in("root", "root:a")
    assert not lies_in("root:a:b", "root:a!")


@pytest.mark.parametrize(
    ("quotas", "expected"),
    [
        ({}, {}),
        ({"root:other": {"cpu": 1.0}}, {}),
        ({"root:team": {"cpu": 10.0}}, {"cpu": 10.0 - 2.0 - 3.0}),
        ({"root:team!": {"cpu": 10.0}}, {"cpu": 10.0 - 2.0}),
        ({"": {"cpu": 10.0}}, {"cpu": 10.0 - 2.0 - 3.0 - 4.0}),
        ({"root:team": {"cpu": 9.0}, "root": {"cpu": 10.0, "gpu": 2.0}}, {"cpu": 1.0, "gpu": 1.0}),
        ({"root:team": {"cpu": 1.0, "memory": 5.0}}, {"cpu": -4.0, "memory": 5.0}),
        ({"root:team": {"cpu": 0.0}, "root:team!": {}}, {"cpu": -5.0}),
    ],
)
def test_quotas_leave_what_others_they_cover_have_not_taken_the_least_of_all(quotas, expected) -> None:
    others = [taken("root:team", cpu=2.0), taken("root:team:dev", cpu=3.0), taken("root:rival", cpu=4.0, gpu=1.0)]
    assert left(quotas, "root:team", others) == expected
