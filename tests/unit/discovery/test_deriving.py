"""What is to be done about the SyncTargets of ClusterProfiles, for any that there may be."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from services.discovery.deriving import (
    CONSUMER,
    CONSUMER_LABEL,
    KUBECONFIG_KEY,
    PROFILE_LABEL,
    Derivation,
    correction,
    secrets_of,
)
from shared.api import SyncTarget
from shared.hub.names import CLUSTER_PROFILE_ANNOTATION, DERIVED_LABEL

NAMES = st.sampled_from(["a", "b"])
LABELS = st.dictionaries(
    st.sampled_from(["region", "tier", DERIVED_LABEL, "placement.moorage.io/x"]), NAMES, max_size=4
)
DERIVATIONS = st.builds(
    Derivation,
    st.just("fleet"),
    st.dictionaries(NAMES, LABELS),
    st.dictionaries(NAMES, st.just("secret")),
    st.sets(NAMES),
)
MARKS = {DERIVED_LABEL: "ClusterProfile"}


def target(name: str, labels: dict[str, str] | None = None, of: str = "", **metadata: str) -> SyncTarget:
    annotations = {CLUSTER_PROFILE_ANNOTATION: of} if of else {}
    return msgspec.convert(
        {"metadata": {"name": name, "labels": labels or {}, "annotations": annotations, **metadata}}, SyncTarget
    )


def whole(obj: dict) -> SyncTarget:
    return msgspec.convert(obj, SyncTarget)


def merged(obj: dict, patch: dict) -> dict:
    """What a merge patch makes of an object."""
    found = {**obj, **{key: merged(obj.get(key, {}), value) for key, value in patch.items() if isinstance(value, dict)}}
    found |= {key: value for key, value in patch.items() if not isinstance(value, dict)}
    return {key: value for key, value in found.items() if value is not None}


TARGETS = st.builds(
    target,
    NAMES,
    st.dictionaries(st.just(DERIVED_LABEL), st.sampled_from(["ClusterProfile", "Other"])),
    st.sampled_from(["", "fleet/a", "fleet/b", "elsewhere/a"]),
)


@given(DERIVATIONS, TARGETS)
def test_nobody_elses_synctarget_is_ever_changed_or_taken_away(derivation, found):
    name = found.metadata.name
    ours = found.metadata.labels == MARKS and found.metadata.annotations == {
        CLUSTER_PROFILE_ANNOTATION: f"fleet/{name}"
    }
    step = derivation.step(name, found)
    assert step != "Make"
    assert ours or step in ("Nothing", "Taken")
    assert (step == "TakeAway") == (ours and name not in derivation.labels)


@given(DERIVATIONS, NAMES)
def test_one_is_made_of_each_profile_that_has_a_secret_or_a_provider_and_of_nothing_else(derivation, name):
    made = derivation.step(name, None) == "Make"
    assert made == (name in derivation.labels and name in {*derivation.secrets, *derivation.reachable})


@given(DERIVATIONS, NAMES, LABELS, LABELS)
def test_what_is_made_is_ours_and_follows_its_profile(derivation, name, labels, others):
    if derivation.step(name, None) != "Make":
        return
    made = derivation.derived(name)
    assert derivation.step(name, whole(made)) == "Keep"
    assert correction(whole(made), made) == {}
    theirs = {**others, **made["metadata"]["labels"]}  # where somebody else has put labels, too
    there = {**made, "metadata": {**made["metadata"], "labels": theirs}}
    changed = msgspec.structs.replace(derivation, labels={**derivation.labels, name: labels})
    wanted = changed.derived(name)
    after = merged(there, correction(whole(there), wanted))
    assert correction(whole(after), wanted) == {}
    assert changed.step(name, whole(after)) == "Keep"
    untouched = {key: value for key, value in others.items() if key not in made["metadata"]["labels"]}
    assert after["metadata"]["labels"] == {**untouched, **wanted["metadata"]["labels"]}


def test_labels_are_carried_but_for_those_that_mean_something_to_us():
    derivation = Derivation("fleet", {"a": {"region": "eu", "placement.moorage.io/managed": "true"}}, {"a": "a-access"})
    wanted = derivation.derived("a")
    assert wanted["metadata"]["labels"] == {"region": "eu", **MARKS}
    assert wanted["spec"] == {"kubeconfigSecretRef": {"namespace": "fleet", "name": "a-access", "key": KUBECONFIG_KEY}}


def test_what_others_say_on_it_is_theirs_and_what_is_ours_is_put_right():
    derivation = Derivation("fleet", {"a": {"region": "eu"}}, {"a": "a-access"})
    wanted = derivation.derived("a")
    labels, spec = wanted["metadata"]["labels"], wanted["spec"]
    others = {**wanted, "metadata": {**wanted["metadata"], "labels": {**labels, "cost": "low"}}}
    assert correction(whole({**others, "spec": {**spec, "unschedulable": True}}), wanted) == {}
    patch = correction(whole({**others, "spec": {}}), wanted)
    assert (merged(others, patch)["spec"], patch["metadata"]["labels"]) == (spec, labels)
    assert correction(whole({**wanted, "metadata": {**wanted["metadata"], "labels": MARKS}}), wanted) != {}


def test_it_refers_to_its_secret_and_without_one_to_the_profile_itself_and_goes_from_one_to_the_other():
    by_secret = Derivation("fleet", {"a": {}}, {"a": "a-access"}, {"a"})
    by_profile = Derivation("fleet", {"a": {}}, {}, {"a"})
    secret, profile = by_secret.derived("a"), by_profile.derived("a")
    assert secret["spec"] == {"kubeconfigSecretRef": {"namespace": "fleet", "name": "a-access", "key": KUBECONFIG_KEY}}
    assert profile["spec"] == {"clusterProfileRef": {"namespace": "fleet", "name": "a"}}
    assert correction(whole(profile), profile) == {}
    for found, wanted in ((secret, profile), (profile, secret)):
        assert merged(found, correction(whole(found), wanted))["spec"] == wanted["spec"]


def test_one_without_its_secret_stays_and_one_that_is_being_deleted_is_left():
    derivation = Derivation("fleet", {"a": {}}, {})
    assert derivation.step("a", target("a", MARKS, "fleet/a")) == "Nothing"
    gone = target("a", MARKS, "fleet/a", deletionTimestamp="2026-11-29T10:00:00Z")
    assert Derivation("fleet", {}, {}).step("a", gone) == "Nothing"


def test_a_secret_counts_that_is_for_us_and_names_the_profile():
    ours = {CONSUMER_LABEL: CONSUMER, PROFILE_LABEL: "a"}
    found = {
        "z": ours,
        "y": ours,
        "argo": {CONSUMER_LABEL: "argocd", PROFILE_LABEL: "a"},
        "nameless": {CONSUMER_LABEL: CONSUMER},
    }
    assert secrets_of(found) == {"a": "y"}
