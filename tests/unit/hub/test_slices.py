"""Decisions in slices: whoever has all of a revision has the decision, and whoever lacks one has nothing."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.api import (
    ObjectMeta,
    PlacementDecision,
    PlacementDecisionStatus,
    ScoredTarget,
    TargetReference,
    decode_decision,
    to_dict,
)
from shared.hub.names import DECISION_INDEX_LABEL, slice_name
from shared.hub.slices import further_names, joined, sliced


def decided(targets: int, attempt: int = 1, replicas: int | None = None) -> PlacementDecisionStatus:
    selected = tuple(
        ScoredTarget(
            target=TargetReference(workspace="root:p", name=f"t{number}"), score=50.25, replicas=replicas, reason="near"
        )
        for number in range(targets)
    )
    return PlacementDecisionStatus(attempt=attempt, selected=selected, rationale="why", input_digest="d")


def objects(status: PlacementDecisionStatus, name: str = "web", uid: str = "u") -> list[PlacementDecision]:
    """The objects that hold a decision, as an API server gives them back."""
    found = []
    for index, each in enumerate(sliced(status, uid)):
        metadata = ObjectMeta(
            name=slice_name(name, each.revision, index), namespace="shop", labels={DECISION_INDEX_LABEL: str(index)}
        )
        found.append(decode_decision(to_dict(PlacementDecision(metadata=metadata, status=each))))
    return found


@given(st.integers(0, 450), st.randoms(use_true_random=False))
def test_a_decision_of_any_size_comes_back_as_it_was_from_its_slices_in_any_order(targets, random) -> None:
    status = decided(targets)
    there = [*objects(status), *objects(decided(3), "other"), *objects(decided(220, attempt=7), "web-2")]
    random.shuffle(there)
    (found,) = [each for each in joined(there) if each.decision.metadata.name == "web"]
    assert found.whole
    assert found.decision.status.selected == status.selected
    assert found.decision.status.rationale == "why"
    assert len(joined(there)) == 3


@given(st.integers(101, 450), st.data())
def test_a_decision_of_which_a_slice_is_missing_or_of_another_revision_is_not_whole(targets, data) -> None:
    first, *further = objects(decided(targets))
    taken = data.draw(st.integers(0, len(further) - 1))
    there = further[:taken] + further[taken + 1 :]
    stranger = msgspec.structs.replace(further[taken].status, revision="another")
    for rest in (there, [*there, msgspec.structs.replace(further[taken], status=stranger)]):
        (found,) = joined([first, *rest])
        assert not found.whole


@given(st.integers(101, 350))
def test_slices_of_another_revision_are_no_part_of_a_decision(targets) -> None:
    new, old = objects(decided(targets, attempt=2)), objects(decided(targets, attempt=1))
    (found,) = joined([*new, *old[1:]])
    assert found.whole
    assert found.decision.status.attempt == 2
    assert len(found.decision.status.selected) == targets


def test_no_object_holds_more_than_a_hundred_targets_and_each_lists_its_own_in_short() -> None:
    parts = sliced(decided(250), "u")
    assert [(len(each.selected), len(each.decisions or ())) for each in parts] == [(100, 100), (100, 100), (50, 50)]
    assert [each.slices for each in parts] == [3, 1, 1]
    assert len({each.revision for each in parts}) == 1


def test_the_same_decision_has_the_same_names_and_another_has_others() -> None:
    def names(status: PlacementDecisionStatus, uid: str = "u") -> set[str]:
        return set(further_names("web", sliced(status, uid)[0]))

    assert names(decided(250)) == names(decided(250))
    for other in (names(decided(250, attempt=2)), names(decided(251)), names(decided(250), "v")):
        assert not other & names(decided(250))


def test_every_value_of_the_short_list_is_text_and_the_list_is_there_though_it_is_empty() -> None:
    """Older versions of Argo CD take nothing else than text, and no decision without the list."""
    (short,) = to_dict(objects(decided(1, replicas=3))[0])["status"]["decisions"]
    expected = {"clusterName": "t0", "workspace": "root:p", "replicas": "3", "score": "50.25", "reason": "near"}
    assert short == expected
    assert to_dict(objects(decided(0))[0])["status"]["decisions"] == []


def test_a_slice_is_nobodys_decision_whatever_it_is_called() -> None:
    _, further = objects(decided(150))
    assert joined([further]) == []


def test_a_decision_of_the_release_before_is_whole_in_one_object_however_many_targets_it_has() -> None:
    old = {"metadata": {"name": "web", "namespace": "shop"}, "status": {"selected": [{"target": {"name": "a"}}] * 300}}
    (found,) = joined([decode_decision({**old, "apiVersion": "placement.moorage.io/v1alpha1"})])
    assert found.whole
    assert found.decision.status.decisions is None
    assert len(found.decision.status.selected) == 300


@pytest.mark.parametrize("index", [1, 99])
def test_names_of_slices_keep_to_the_limit(index: int) -> None:
    longest = "p" * 253
    assert slice_name(longest, "", 0) == longest
    assert len(slice_name(longest, "0123456789abcdef", index)) == 253
