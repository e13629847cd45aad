"""Names that objects carry on our behalf: finalizers, labels, annotations, field managers, owners.

Others rely on them too: those who look into a target cluster with stock tools, and versions of Moorage before and after
this one. A test checks that nobody spells one of them elsewhere. All keep to Kubernetes' limits of length.
"""

import hashlib

from shared.api import GROUP
from shared.kube.applyset import applyset_id
from shared.kube.resources import CONFIGMAPS
from shared.model.refs import PlacementRef

# --- on the hub ------------------------------------------------------------------------------------------------------

PLACED_FINALIZER = f"{GROUP}/placed"
"""On Placements: something of theirs may be placed. The controller takes it off when nothing is any more."""

APPLIED_FINALIZER = f"{GROUP}/applied"
"""On PlacementBindings: their objects may be in the target. Binding takes it off when none is any more."""

PLACEMENT_LABEL = f"{GROUP}/placement"
"""On PlacementDecisions and PlacementBindings: the Placement that they belong to, as `label_value` of its name."""

DECISION_KEY_LABEL = "multicluster.x-k8s.io/decision-key"
"""On PlacementDecisions, as SIG Multicluster has it: the same on all slices of a decision; as `PLACEMENT_LABEL`."""

DECISION_INDEX_LABEL = "multicluster.x-k8s.io/decision-index"
"""On PlacementDecisions, as SIG Multicluster has it: which slice of the decision it is, from 0."""

REQUESTER_ANNOTATION = f"{GROUP}/requester"
"""On Placements: who last changed what they ask for, as JSON with username, uid, groups and extra; stamped by the API
server's admission."""

HOLD_ANNOTATION = f"{GROUP}/hold"
"""On a Placement: the id of the hold whose capacity it takes over. Who knows the id of one in its namespace may."""

APPROVED_ANNOTATION = f"{GROUP}/approved"
"""On a Placement: up to which step of which rollout is approved, as `<revision>/<step>`. Admission has only those write
it who have the verb `approve`."""

PAUSED_ANNOTATION = f"{GROUP}/rollout-paused"
"""On a Placement: that its rollout is paused, and why."""

REBALANCE_ANNOTATION = f"{GROUP}/rebalance"
"""On a Placement: that it is to look for better targets once, and when that was asked for. Each new value is answered
by one round."""

EVICT_ANNOTATION = f"{GROUP}/evict"
"""On a Placement: which of its targets it is to leave once, as `<target> <token>`. Each new value is answered by one
round."""

ATTEMPT_ANNOTATION = f"{GROUP}/attempt"
"""On PlacementBindings: the attempt of the placement that they were last written for."""

TRACE_ANNOTATION = f"{GROUP}/trace-id"
"""On PlacementBindings and Events: the W3C id of the trace in which they were written; of a binding, its attempt."""

LEASE_ANNOTATION = f"{GROUP}/lease"
"""On PlacementBindings: since when a worker acts in the target, and a name of its lease that no other has."""

DRAIN_TAINT = f"{GROUP}/drain"
"""On SyncTargets: the taint (NoExecute) by which `moorage cluster drain` has all placements leave."""

PROVIDER_LABEL = "moorage.io/provider"
"""On SyncTargets: who runs the cluster."""

DERIVED_LABEL = f"{GROUP}/derived-from"
"""On SyncTargets that discovery made: the kind of what they were made of, `ClusterProfile`. Whoever takes it off has
the SyncTarget for themselves."""

CLUSTER_PROFILE_ANNOTATION = f"{GROUP}/cluster-profile"
"""On SyncTargets that discovery made of a ClusterProfile: which one, as `<namespace>/<name>`."""

DERIVED_LABELS_ANNOTATION = f"{GROUP}/derived-labels"
"""On SyncTargets that discovery made of a ClusterProfile: the labels that are the profile's, by comma."""

# --- in target clusters ----------------------------------------------------------------------------------------------

SYSTEM_NAMESPACE = "moorage-system"
"""Where the ApplySets of what was placed are."""

MANAGED_LABEL = f"{GROUP}/managed"
"""On everything that was placed, with the value `true`."""

MANAGED_SELECTOR = f"{MANAGED_LABEL}=true"

OWNER_ANNOTATION = f"{GROUP}/owner"
"""On everything that was placed: the Placement that it belongs to, as `owner_of` writes it."""

ADOPTED_ANNOTATION = f"{GROUP}/adopted"
"""On what was in a target before it was placed: how it was then, as JSON, so that it can be given back."""

CLAIM_ANNOTATION = f"{GROUP}/workspace"
"""On Namespaces in targets: the workspace whose placements alone go there; empty is the hub of a plain Kubernetes. A
target's owner may write it, too. It is no label, since a path has colons and may be long."""

RESERVED_PREFIXES = (f"{GROUP}/", "applyset.kubernetes.io/")
"""Labels and annotations that mean something to us: those of objects in a workspace are not taken along."""

KINDS_ANNOTATION = f"{GROUP}/kinds"
"""On an ApplySet's parent: `<apiVersion> <kind>`, by comma. The ApplySet's own annotation leaves the version out."""

UID_ANNOTATION = f"{GROUP}/placement-uid"
"""On an ApplySet's parent: the uid of the Placement that it was last written for. Another hub may have a Placement of
the same name; it has none of the same uid."""

APPLIER = "moorage"
"""The field manager of everything that was placed."""

LABEL_LIMIT = 63
NAME_LIMIT = 253


def field_manager(component: str) -> str:
    """The field manager of a worker (or a command) on the hub; its requests carry the same as their user agent."""
    return f"moorage-{component}"


def event_reporter(component: str) -> str:
    """The `reportingComponent` of a worker's Kubernetes Events."""
    return f"{GROUP}/{component}"


def owner_of(ref: PlacementRef) -> str:
    """A Placement as objects in targets name their owner: `<workspace>|<namespace>|<name>`."""
    return f"{ref.workspace}|{ref.namespace}|{ref.name}"


def parse_owner(owner: str) -> PlacementRef | None:
    """The Placement that an object in a target names as its owner; None for what `owner_of` did not write."""
    parts = owner.split("|")
    if len(parts) != 3:
        return None
    workspace, namespace, name = parts
    return PlacementRef(workspace=workspace, namespace=namespace, name=name)


def label_value(name: str) -> str:
    """A name as a label's value; one that is too long is cut and made unique by a digest."""
    return _cut(name, LABEL_LIMIT)


def binding_name(placement: str, target: str) -> str:
    """The name of the PlacementBinding of a placement in a target (by its id)."""
    return f"{_cut(placement, NAME_LIMIT - 9)}-{_digest(target)}"


def slice_name(placement: str, revision: str, index: int) -> str:
    """The name of a slice of a PlacementDecision; the first, with index 0, has the Placement's own name."""
    end = f"-{revision}-{index}" if index else ""
    return f"{_cut(placement, NAME_LIMIT - len(end))}{end}"


def revision_name(placement: str, revision: str) -> str:
    """The name of the PlacementRevision of a placement."""
    return f"{_cut(placement, NAME_LIMIT - 1 - len(revision))}-{revision}"


def applyset_name(ref: PlacementRef) -> str:
    """The name of the ApplySet parent of a Placement, the same in every target."""
    return f"{_cut(ref.name, NAME_LIMIT - 9)}-{_digest(f'{ref.workspace}/{ref.namespace}')}"


def applyset_of(ref: PlacementRef) -> str:
    """The id of a Placement's ApplySet, which its members carry as a label."""
    return applyset_id(applyset_name(ref), SYSTEM_NAMESPACE, CONFIGMAPS.kind, CONFIGMAPS.group)


def _cut(name: str, limit: int) -> str:
    return name if len(name) <= limit else f"{name[: limit - 9]}-{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
