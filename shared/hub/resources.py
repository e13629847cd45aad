"""Moorage's own resources on the hub, and kcp's workspaces."""

from shared.api import GROUP, VERSION
from shared.kube.resources import Resource

PLACEMENTS = Resource(GROUP, VERSION, "placements", kind="Placement")


SYNCTARGETS = Resource(GROUP, VERSION, "synctargets", namespaced=False, kind="SyncTarget")


POLICIES = Resource(GROUP, VERSION, "placementpolicies", namespaced=False, kind="PlacementPolicy")


DECISIONS = Resource(GROUP, VERSION, "placementdecisions", kind="PlacementDecision")


BINDINGS = Resource(GROUP, VERSION, "placementbindings", kind="PlacementBinding")


OVERRIDES = Resource(GROUP, VERSION, "placementoverrides", namespaced=False, kind="PlacementOverride")


WORKSPACES = Resource("tenancy.kcp.io", "v1alpha1", "workspaces", namespaced=False, kind="Workspace")
