"""What selectors mean."""

import msgspec

from shared.api import WorkloadSelector
from shared.hub.kinds import UNKNOWN, kind_named
from shared.hub.selecting import COMMON, nothing, of_kinds

PART = {"matchLabels": {"app.kubernetes.io/part-of": "shop"}}


def selector(**fields) -> WorkloadSelector:
    return msgspec.convert(fields, WorkloadSelector)


def test_all_is_one_selector_by_the_same_labels_for_every_common_kind() -> None:
    found = of_kinds(selector(all=True, labelSelector=PART))
    assert [(each.api_version, each.kind) for each in found] == list(COMMON)
    assert {each.label_selector.match_labels["app.kubernetes.io/part-of"] for each in found} == {"shop"}
    assert not any(each.all for each in found)


def test_a_selector_of_one_kind_stays_as_it_is() -> None:
    one = selector(apiVersion="v1", kind="Pod", name="web")
    assert of_kinds(one) == (one,)


def test_no_common_kind_changes_what_others_ask_for_after_it_was_counted() -> None:
    kinds = [kind_named(*each) for each in COMMON]
    assert not any(each.unsettles for each in kinds)
    assert [each for each, kind in zip(COMMON, kinds, strict=True) if kind is UNKNOWN] == [
        ("networking.k8s.io/v1", "NetworkPolicy")
    ]


def test_that_all_selects_nothing_is_said_in_one_sentence() -> None:
    said = nothing(selector(all=True, labelSelector=PART), "spec.workload[0]", "shop")
    assert said == (
        "spec.workload[0] selects nothing: no object of a common kind with labels app.kubernetes.io/part-of=shop in "
        "namespace shop"
    )
