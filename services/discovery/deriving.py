"""SyncTargets as they are derived from the ClusterProfiles of SIG Multicluster (KEP-4322). Pure.

A ClusterProfile has one where a Secret beside it holds a kubeconfig for Moorage, as the KEP has it for managers that
hand out credentials, or else where it names an access provider that the operator lists for its place. The SyncTarget
then refers to the profile, and says nothing of what that says of access: whoever needs it reads it there.
"""

from collections.abc import Mapping, Set
from typing import Any, Literal

import msgspec

from shared.api import SyncTarget
from shared.hub.names import (
    CLUSTER_PROFILE_ANNOTATION,
    DERIVED_LABEL,
    DERIVED_LABELS_ANNOTATION,
    RESERVED_PREFIXES,
)
from shared.hub.resources import CLUSTER_PROFILES, SYNCTARGETS

CONSUMER = "moorage"
CONSUMER_LABEL = "x-k8s.io/cluster-inventory-consumer"
"""On a Secret: for whom its kubeconfig is."""
PROFILE_LABEL = "x-k8s.io/cluster-profile"
"""On a Secret: the name of the ClusterProfile whose kubeconfig it holds."""
KUBECONFIG_KEY = "Config"
SECRET, PROFILE = "kubeconfigSecretRef", "clusterProfileRef"
"""The two ways in the spec of a SyncTarget, of which one is derived."""

Step = Literal["Make", "Keep", "TakeAway", "Nothing", "Taken"]
"""What is to be done about the SyncTarget of a name. Taken: somebody else has one of the name of a profile."""


class Derivation(msgspec.Struct, frozen=True):
    """What SyncTargets are derived from: the ClusterProfiles in one namespace of a workspace."""

    namespace: str
    labels: Mapping[str, Mapping[str, str]]
    """Of each ClusterProfile, by its name."""
    secrets: Mapping[str, str]
    """The Secret with the kubeconfig for us, by the name of its ClusterProfile."""
    reachable: Set[str] = frozenset()
    """The ClusterProfiles that name an access provider which the operator lists for them; a Secret goes before it."""

    def step(self, name: str, found: SyncTarget | None) -> Step:
        """What is to be done about the SyncTarget of a name, of which `found` is known.

        Only one that is ours is ever changed or taken away, and none for the lack of a way there: that may be on its
        way to be another one, and what runs in the cluster would have to leave.
        """
        there, reachable = name in self.labels, name in self.secrets or name in self.reachable
        if found is None:
            return "Make" if there and reachable else "Nothing"
        if not self.made(found):
            return "Taken" if there and reachable else "Nothing"
        if found.metadata.deletion_timestamp is not None:
            return "Nothing"
        if not there:
            return "TakeAway"
        return "Keep" if reachable else "Nothing"

    def made(self, found: SyncTarget) -> bool:
        """Whether a SyncTarget was made of a profile of this namespace, by all of its marks."""
        metadata, marks = found.metadata, self._marks(found.metadata.name)
        return _within(marks["labels"], metadata.labels) and _within(marks["annotations"], metadata.annotations)

    def derived(self, name: str) -> dict[str, Any]:
        """The SyncTarget of a profile that has a Secret or an access provider: all of it that is ours to say."""
        labels, marks = self.labels[name], self._marks(name)
        carried = {key: value for key, value in labels.items() if not key.startswith(RESERVED_PREFIXES)}
        annotations = {**marks["annotations"], DERIVED_LABELS_ANNOTATION: ",".join(sorted(carried))}
        ref = {"namespace": self.namespace, "name": self.secrets.get(name, name)}
        spec = {SECRET: {**ref, "key": KUBECONFIG_KEY}} if name in self.secrets else {PROFILE: ref}
        return {
            "apiVersion": SYNCTARGETS.api_version,
            "kind": SYNCTARGETS.kind,
            "metadata": {"name": name, "labels": carried | marks["labels"], "annotations": annotations},
            "spec": spec,
        }

    def _marks(self, name: str) -> dict[str, dict[str, str]]:
        return {
            "labels": {DERIVED_LABEL: CLUSTER_PROFILES.kind},
            "annotations": {CLUSTER_PROFILE_ANNOTATION: f"{self.namespace}/{name}"},
        }


def correction(found: SyncTarget, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that has a SyncTarget say what is derived, if nobody wrote since; empty where it does.

    Labels that were carried before, and are not any more, go. What else it says is others', and stays.
    """
    metadata, spec = found.metadata, found.spec
    labels, annotations = wanted["metadata"]["labels"], wanted["metadata"]["annotations"]
    carried = set(metadata.annotations.get(DERIVED_LABELS_ANNOTATION, "").split(",")) & metadata.labels.keys()
    outdated = dict.fromkeys(sorted(carried - labels.keys()))
    ways = {SECRET: spec.kubeconfig_secret_ref, PROFILE: spec.cluster_profile_ref}
    said = {way: msgspec.structs.asdict(ref) for way, ref in ways.items() if ref is not None} == wanted["spec"]
    if said and not outdated and _within(labels, metadata.labels) and _within(annotations, metadata.annotations):
        return {}
    changed = {"labels": {**labels, **outdated}, "annotations": annotations}
    return {
        "metadata": {"resourceVersion": metadata.resource_version, **changed},
        "spec": dict.fromkeys(ways) | wanted["spec"],
    }


def _within(some: Mapping[str, str], all: Mapping[str, str]) -> bool:
    return some.items() <= all.items()


def secrets_of(labels: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The Secret of each ClusterProfile, of Secrets by their names; of several, the first by name."""
    found: dict[str, str] = {}
    for secret in sorted(labels):
        profile = labels[secret].get(PROFILE_LABEL)
        if profile and labels[secret].get(CONSUMER_LABEL) == CONSUMER:
            found.setdefault(profile, secret)
    return found
