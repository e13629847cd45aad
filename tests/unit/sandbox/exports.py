"""An export of widgets and the binding to it, as tests of the sandbox write them."""

APIS = "/apis/apis.kcp.io"
SCHEMAS, EXPORTS, BINDINGS, SLICES = (
    f"{APIS}/v1alpha1/apiresourceschemas",
    f"{APIS}/v1alpha2/apiexports",
    f"{APIS}/v1alpha2/apibindings",
    f"{APIS}/v1alpha1/apiexportendpointslices",
)
WIDGETS = "/apis/example.io/v1/namespaces/default/widgets"
ALL_WIDGETS = "/apis/example.io/v1/widgets"
CONFIGS = "/api/v1/namespaces/default/configmaps"
WORKSPACES = "/apis/tenancy.kcp.io/v1alpha1/workspaces"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
CLAIM = {"group": "", "resource": "configmaps", "verbs": ["get", "list", "watch"]}
ACCEPTED = {**CLAIM, "state": "Accepted", "selector": {"matchAll": True}}


def schema(prefix="v1", **properties):
    content = {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": content}
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget"}
    spec = {"group": "example.io", "scope": "Namespaced", "names": names, "versions": [version]}
    return {"metadata": {"name": f"{prefix}.widgets.example.io"}, "spec": spec}


def export(*claims, prefix="v1"):
    resource = {"group": "example.io", "name": "widgets", "schema": f"{prefix}.widgets.example.io"}
    spec = {"resources": [{**resource, "storage": {"crd": {}}}], "permissionClaims": list(claims)}
    return {"metadata": {"name": "things"}, "spec": spec}


def binding(*claims, path="root:provider", name="things"):
    reference = {"export": {"path": path, "name": name}}
    return {"metadata": {"name": "things"}, "spec": {"reference": reference, "permissionClaims": list(claims)}}


def id_of(api, path):
    """The id of the logical cluster of a workspace."""
    return api.sandbox.clusters.find(path).id


def within(api, cluster, export="things", host="root:provider"):
    """A workspace as the virtual workspace of an export shows it."""
    return api.at(id_of(api, cluster)).below(f"/services/apiexport/{id_of(api, host)}/{export}")


async def bind(api, *claims):
    await api("POST", BINDINGS, binding(*claims), expect=201)
    return (await api("GET", f"{BINDINGS}/things"))["status"]


def names(found):
    return [item["metadata"]["name"] for item in found["items"]]
