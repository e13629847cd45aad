"""Resources, and where each lives below an API server's root."""

import functools
from urllib.parse import quote

import msgspec


class Resource(msgspec.Struct, frozen=True):
    """One collection of an API: `Resource("apps", "v1", "deployments", kind="Deployment")`. The core group is ""."""

    group: str
    version: str
    plural: str
    namespaced: bool = True
    kind: str = ""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def name(self) -> str:
        """`deployments.apps`, as CRDs and RBAC write it; `pods` for the core group."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The path of the collection, or of one object in it. A namespace is left out of what has none.

        Raises ValueError for one object of a namespaced resource without its namespace, and for a name or a namespace
        that would lead elsewhere (`..`).
        """
        if self.namespaced and name and not namespace:
            raise ValueError(f"{self.name} {name!r} needs a namespace")
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        if self.namespaced and namespace:
            root = f"{root}/namespaces/{_segment(namespace)}"
        path = f"{root}/{self.plural}"
        if name:
            path = f"{path}/{_segment(name)}"
        return f"{path}/{subresource}" if subresource else path


def group_of(api_version: str) -> str:
    """The group of an `apiVersion`: `apps` of `apps/v1`, empty for the core group."""
    return api_version.rpartition("/")[0]


@functools.lru_cache(10_000)
def _segment(text: str) -> str:
    if text in {".", ".."}:
        raise ValueError(f"{text!r} is no name")
    return quote(text, safe=":")


NAMESPACES = Resource("", "v1", "namespaces", namespaced=False, kind="Namespace")
NODES = Resource("", "v1", "nodes", namespaced=False, kind="Node")
PODS = Resource("", "v1", "pods", kind="Pod")
SECRETS = Resource("", "v1", "secrets", kind="Secret")
CONFIGMAPS = Resource("", "v1", "configmaps", kind="ConfigMap")
SERVICES = Resource("", "v1", "services", kind="Service")
DEPLOYMENTS = Resource("apps", "v1", "deployments", kind="Deployment")
EVENTS = Resource("", "v1", "events", kind="Event")
CLUSTERROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", False, "ClusterRole")
CLUSTERROLEBINDINGS = Resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings", False, "ClusterRoleBinding")
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", False, "CustomResourceDefinition")
APISERVICES = Resource("apiregistration.k8s.io", "v1", "apiservices", False, "APIService")
SUBJECTACCESSREVIEWS = Resource("authorization.k8s.io", "v1", "subjectaccessreviews", False, "SubjectAccessReview")
