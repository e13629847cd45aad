"""Selectors and tolerations mean what they mean in Kubernetes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.api import (
    AffinityRequirement,
    LabelRequirement,
    LabelSelector,
    Taint,
    Toleration,
    matches,
    matches_all,
    tolerates,
)

LABELS = {"region": "eu-west", "generation": "5", "empty": ""}


@pytest.mark.parametrize(
    ("key", "operator", "values", "expected"),
    [
        ("region", "In", ("eu-west", "eu-north"), True),
        ("region", "In", ("us-east",), False),
        ("absent", "In", ("",), False),
        ("empty", "In", ("",), True),
        ("region", "NotIn", ("eu-west",), False),
        ("region", "NotIn", ("us-east",), True),
        ("absent", "NotIn", ("anything",), True),
        ("empty", "Exists", (), True),
        ("absent", "Exists", (), False),
        ("empty", "DoesNotExist", (), False),
        ("absent", "DoesNotExist", (), True),
        ("generation", "Gt", ("4",), True),
        ("generation", "Gt", ("5",), False),
        ("generation", "Lt", ("6",), True),
        ("generation", "Lt", ("5",), False),
        ("generation", "Gt", ("-1",), True),
        ("absent", "Gt", ("0",), False),
        ("absent", "Lt", ("0",), False),
        ("region", "Gt", ("0",), False),
        ("generation", "Gt", ("four",), False),
        ("generation", "Gt", (), False),
        ("generation", "Gt", ("1", "2"), False),
        ("generation", "Lt", ("9223372036854775808",), False),
        ("generation", "Lt", ("1_0",), False),
        ("generation", "Lt", (" 9",), False),
        ("generation", "Lt", ("+9",), True),
        ("generation", "Lt", ("٩",), False),
    ],
)
def test_an_affinity_requirement_compares_as_kubernetes_does(key, operator, values, expected):
    assert matches_all([AffinityRequirement(key=key, operator=operator, values=values)], LABELS) is expected


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (None, True),
        (LabelSelector(), True),
        (LabelSelector(match_labels={"region": "eu-west"}), True),
        (LabelSelector(match_labels={"region": "eu-west", "generation": "4"}), False),
        (LabelSelector(match_labels={"absent": ""}), False),
        (LabelSelector(match_expressions=(LabelRequirement(key="region", operator="Exists"),)), True),
        (
            LabelSelector(
                match_labels={"region": "eu-west"},
                match_expressions=(LabelRequirement(key="region", operator="DoesNotExist"),),
            ),
            False,
        ),
    ],
)
def test_a_selector_wants_all_of_its_parts(selector, expected):
    assert matches(selector, LABELS) is expected


GPU = Taint(key="gpu", value="true", effect="NoSchedule")


@pytest.mark.parametrize(
    ("toleration", "expected"),
    [
        (Toleration(key="gpu", value="true", effect="NoSchedule"), True),
        (Toleration(key="gpu", value="true"), True),
        (Toleration(key="gpu", value="false"), False),
        (Toleration(key="gpu"), False),
        (Toleration(key="gpu", operator="Exists"), True),
        (Toleration(key="gpu", operator="Exists", effect="NoExecute"), False),
        (Toleration(key="spot", operator="Exists"), False),
        (Toleration(operator="Exists"), True),
        (Toleration(operator="Exists", effect="PreferNoSchedule"), False),
        (Toleration(value="true"), True),
        (Toleration(key="gpu", operator="", value="true", effect=""), True),
    ],
)
def test_a_toleration_covers_a_taint_as_in_kubernetes(toleration, expected):
    assert tolerates(toleration, GPU) is expected


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [
        ("Gt", "9", True),
        ("Gt", "10", False),
        ("Lt", "11", True),
        ("Lt", "-11", False),
        ("Gt", "09", False),  # not as people write it
        ("Gt", "+9", False),
        ("Gt", "nine", False),
        ("Gt", "9" * 30, False),
    ],
)
def test_a_toleration_compares_whole_numbers_as_in_kubernetes(operator, value, expected):
    taint = Taint(key="price", value="10", effect="NoSchedule")
    assert tolerates(Toleration(key="price", operator=operator, value=value), taint) is expected


@given(st.dictionaries(st.text(max_size=3), st.text(max_size=3)), st.text(max_size=3), st.lists(st.text(max_size=3)))
def test_opposite_operators_give_opposite_answers(labels, key, values):
    for one, other in (("In", "NotIn"), ("Exists", "DoesNotExist")):
        first = LabelRequirement(key=key, operator=one, values=tuple(values))
        second = LabelRequirement(key=key, operator=other, values=tuple(values))
        assert matches_all([first], labels) is not matches_all([second], labels)
