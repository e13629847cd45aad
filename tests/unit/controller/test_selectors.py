"""A changed object wakes the placements that may select it, and no others."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.controller.selectors import SelectorIndex
from shared.api import Placement, decode_placement

DEPLOYMENT, ROLE = ("apps/v1", "Deployment"), ("rbac.authorization.k8s.io/v1", "ClusterRole")


def selector(kind: tuple[str, str], name: str | None) -> dict[str, Any]:
    which = {"labelSelector": {"matchLabels": {"app": "web"}}} if name is None else {"name": name}
    return {"apiVersion": kind[0], "kind": kind[1], **which}


def placement(namespace: str, name: str, *selectors: dict[str, Any]) -> Placement:
    metadata = {"name": name, "namespace": namespace}
    return decode_placement({"metadata": metadata, "spec": {"workload": list(selectors)}})


@pytest.mark.parametrize(
    ("changed", "woken"),
    [
        ((DEPLOYMENT, "shop", "web"), {"by-name", "by-label"}),
        ((DEPLOYMENT, "shop", "other"), {"by-label"}),
        ((DEPLOYMENT, "elsewhere", "web"), set()),
        ((ROLE, "", "admin"), {"by-name"}),
        ((ROLE, "", "web"), set()),
    ],
)
def test_an_object_wakes_who_names_it_and_who_selects_by_label_in_its_namespace(changed, woken) -> None:
    index = SelectorIndex()
    by_name = placement("shop", "by-name", selector(DEPLOYMENT, "web"), selector(ROLE, "admin"))
    index.put(("shop", "by-name"), by_name)
    index.put(("shop", "by-label"), placement("shop", "by-label", selector(DEPLOYMENT, None)))
    assert {name for _, name in index.concerned(*changed)} == woken


def test_whatever_has_a_common_kind_wakes_who_selects_all_by_label() -> None:
    index = SelectorIndex()
    index.put(
        ("shop", "all"), placement("shop", "all", {"all": True, "labelSelector": {"matchLabels": {"app": "web"}}})
    )
    assert list(index.concerned(DEPLOYMENT, "shop", "web")) == [("shop", "all")]
    assert list(index.concerned(("v1", "Secret"), "shop", "key")) == [("shop", "all")]
    assert not index.concerned(DEPLOYMENT, "elsewhere", "web")
    assert not index.concerned(ROLE, "", "admin")
    index.put(("shop", "all"), None)
    assert not index.selecting(DEPLOYMENT)


KEYS = [("shop", "a"), ("shop", "b"), ("mall", "a")]
wishes = (
    st.lists(st.tuples(st.sampled_from([DEPLOYMENT, ROLE]), st.sampled_from(["x", "y", None])), max_size=3) | st.none()
)


@given(st.lists(st.tuples(st.sampled_from(KEYS), wishes), max_size=12))
def test_however_placements_change_it_is_as_if_all_were_asked(changes) -> None:
    index, there = SelectorIndex(), {}
    for key, wish in changes:
        there[key] = wish
        selectors = [selector(*each) for each in wish or ()]
        index.put(key, None if wish is None else placement(*key, *selectors))
    for kind in (DEPLOYMENT, ROLE):
        for namespace, name in [("shop", "x"), ("mall", "y"), ("", "x"), ("", "y")]:
            expected = {
                key
                for key, wish in there.items()
                for wanted, named in wish or ()
                if wanted == kind
                and ((named == name and namespace in (key[0], "")) or (named is None and namespace == key[0]))
            }
            assert set(index.concerned(kind, namespace, name)) == expected
    for key in KEYS:
        index.put(key, None)
    assert not index._by_place
    assert not index._places
