"""Moorage's own resources on the hub, and kcp's workspaces and bindings of APIs."""

from shared.api import GROUP, VERSION
from shared.kube.resources import Resource

PLACEMENTS = Resource(GROUP, VERSION, "placements", kind="Placement")


SYNCTARGETS = Resource(GROUP, VERSION, "synctargets", namespaced=False, kind="SyncTarget")


POLICIES = Resource(GROUP, VERSION, "placementpolicies", namespaced=False, kind="PlacementPolicy")


EXCEPTIONS = Resource(GROUP, VERSION, "policyexceptions", namespaced=False, kind="PolicyException")


DECISIONS = Resource(GROUP, VERSION, "placementdecisions", kind="PlacementDecision")


BINDINGS = Resource(GROUP, VERSION, "placementbindings", kind="PlacementBinding")


REVISIONS = Resource(GROUP, VERSION, "placementrevisions", kind="PlacementRevision")


CLUSTER_REQUESTS = Resource(GROUP, VERSION, "clusterrequests", kind="ClusterRequest")


OVERRIDES = Resource(GROUP, VERSION, "placementoverrides", namespaced=False, kind="PlacementOverride")


QUOTAS = Resource(GROUP, VERSION, "placementquotas", namespaced=False, kind="PlacementQuota")


WORKLOAD_KINDS = Resource(GROUP, VERSION, "workloadkinds", namespaced=False, kind="WorkloadKind")


WORKSPACES = Resource("tenancy.kcp.io", "v1alpha1", "workspaces", namespaced=False, kind="Workspace")


APIBINDINGS = Resource("apis.kcp.io", "v1alpha2", "apibindings", namespaced=False, kind="APIBinding")


CLUSTER_PROFILES = Resource("multicluster.x-k8s.io", "v1alpha1", "clusterprofiles", kind="ClusterProfile")
"""Of SIG Multicluster (KEP-4322): clusters as a cluster manager lists them."""


ENDPOINTS = Resource(
    "apis.kcp.io", "v1alpha1", "apiexportendpointslices", namespaced=False, kind="APIExportEndpointSlice"
)
