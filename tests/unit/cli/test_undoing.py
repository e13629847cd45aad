"""Going back to a revision: what is written, and what cannot be."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.rollout.undoing import Irrevocable, changes, chosen, difference, spec_patch
from shared.api import (
    ObjectMeta,
    ObjectReference,
    PatchOperation,
    Placement,
    PlacementReference,
    PlacementRevision,
    PlacementRevisionSpec,
    PlacementSpec,
    RevisedObject,
    TargetOverride,
)
from shared.hub.rendering import source_hash
from shared.kube.written import LAST_APPLIED

OVERRIDE = TargetOverride(patches=(PatchOperation(op="remove", path="/spec/replicas"),))


def config(value: str, name: str = "conf", kind: str = "ConfigMap") -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", "labels": {"app": "web"}}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": {"value": value}}


def served(obj: dict[str, Any]) -> dict[str, Any]:
    """As an API server has it, with a label that somebody added."""
    labels = {**obj["metadata"]["labels"], "more": "true"}
    return {**obj, "metadata": {**obj["metadata"], "labels": labels, "uid": "u", "resourceVersion": "7"}}


def revised(obj: dict[str, Any], source: Any = "Workload", *, content: bool = True) -> RevisedObject:
    ref = ObjectReference(api_version="v1", kind=obj["kind"], name=obj["metadata"]["name"], namespace="shop")
    return RevisedObject(ref=ref, source=source, hash=source_hash(obj), content=obj if content else None)


def revision(name: str, attempt: int, *objects: RevisedObject, **spec: Any) -> PlacementRevision:
    about = PlacementReference(name="web", namespace="shop", uid="u")
    made = PlacementRevisionSpec(placement_ref=about, revision=name, attempt=attempt, objects=objects, **spec)
    return PlacementRevision(metadata=ObjectMeta(name=f"web-{name}"), spec=made)


def test_without_a_name_the_newest_revision_is_meant_that_is_not_the_current_one() -> None:
    known = [revision("a", 1), revision("b", 5), revision("c", 3)]
    assert chosen("web", known, "b", "").spec.revision == "c"
    assert chosen("web", known, "b", "a").spec.revision == "a"


def test_a_revision_that_is_not_kept_is_refused_with_those_that_are() -> None:
    with pytest.raises(Irrevocable, match="there is no revision z; kept are: b, a"):
        chosen("web", [revision("a", 1), revision("b", 5)], "b", "z")
    with pytest.raises(Irrevocable, match="there is no revision before b; kept are: b"):
        chosen("web", [revision("b", 5)], "b", "")
    with pytest.raises(Irrevocable, match="kept are: none"):
        chosen("other", [revision("b", 5)], "b", "")


def test_what_is_as_it_was_is_not_written() -> None:
    assert changes("a", [(revised(config("1")), config("1"))]) == []


def test_of_what_changed_that_alone_is_written() -> None:
    (found,) = changes("a", [(revised(config("1")), served(config("2")))])
    assert found.name == "ConfigMap shop/conf"
    assert found.patch() == {"data": {"value": "1"}, "metadata": {"labels": {"more": None}, "resourceVersion": "7"}}


def test_what_others_keep_in_annotations_stays_there() -> None:
    bare = {**config("1"), "metadata": {"name": "conf", "namespace": "shop"}}
    marked = {
        **bare,
        "metadata": {**bare["metadata"], "resourceVersion": "7", "annotations": {LAST_APPLIED: "{}", "a": "b"}},
    }
    (found,) = changes("a", [(revised(bare), marked)])
    assert found.patch() == {"metadata": {"annotations": {"a": None}, "resourceVersion": "7"}}


def test_what_is_gone_is_made_again() -> None:
    (found,) = changes("a", [(revised(config("1")), None)])
    assert (found.before, found.content) == (None, config("1"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.text("ab", max_size=1),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from("abc"), JSON.filter(lambda each: each is not None), max_size=3)


def without_nulls(value: Any) -> Any:
    """No manifest has them: to an API server they are absent."""
    if isinstance(value, dict):
        return {key: without_nulls(each) for key, each in value.items() if each is not None}
    return value


@given(OBJECTS, OBJECTS)
def test_a_difference_makes_one_object_of_the_other(now: dict[str, Any], then: dict[str, Any]) -> None:
    now, then = without_nulls(now), without_nulls(then)

    def merged(value: Any, patch: Any) -> Any:
        if not isinstance(patch, dict):
            return patch
        found = dict(value) if isinstance(value, dict) else {}
        for key, each in patch.items():
            if each is None:
                found.pop(key, None)
            else:
                found[key] = merged(found.get(key), each)
        return found

    assert merged(now, difference(now, then)) == then


@pytest.mark.parametrize(
    ("now", "said"),
    [(None, "is not there any more"), (config("2", "db", "Secret"), "has changed since")],
)
def test_a_secret_that_is_not_what_it_was_is_named(now: Any, said: str) -> None:
    old = revised(config("1", "db", "Secret"), "Reference", content=False)
    with pytest.raises(Irrevocable, match=f"Secret shop/db of revision a {said}"):
        changes("a", [(old, now)])
    assert changes("a", [(old, config("1", "db", "Secret"))]) == []


def test_what_was_too_large_to_keep_is_named() -> None:
    with pytest.raises(Irrevocable, match="the content of ConfigMap shop/conf was not kept"):
        changes("a", [(revised(config("1"), content=False), config("2"))])


def test_manifests_and_overrides_come_back_and_secrets_among_them_if_they_are_still_there() -> None:
    secret = config("1", "db", "Secret")
    old = revision(
        "a", 1, revised(config("1"), "Manifest"), revised(secret, "Manifest", content=False), overrides=(OVERRIDE,)
    )
    now = Placement(metadata=ObjectMeta(name="web"), spec=PlacementSpec(manifests=(config("2"), secret)))
    patch = spec_patch(now, old)
    assert patch["manifests"] == [config("1"), secret]
    assert patch["overrides"] == [{"patches": [{"op": "remove", "path": "/spec/replicas"}]}]
    same = PlacementSpec(manifests=(config("1"), secret), overrides=(OVERRIDE,))
    assert spec_patch(Placement(metadata=ObjectMeta(name="web"), spec=same), old) == {}
    other = PlacementSpec(manifests=(config("1"), config("2", "db", "Secret")))
    with pytest.raises(Irrevocable, match="Secret shop/db"):
        spec_patch(Placement(metadata=ObjectMeta(name="web"), spec=other), old)
