"""Who may use a cluster, by the role of its own."""

from services.cli.cluster.hub import ClusterHub
from services.cli.support import offering
from shared.kube.errors import ApiError
from shared.kube.resources import CLUSTERROLEBINDINGS


async def subjects(hub: ClusterHub, name: str) -> list[offering.Subject]:
    """Those whom the cluster's own ClusterRoleBinding names, as `offering.group` and `offering.user` write them."""
    try:
        found = await hub.client.get(CLUSTERROLEBINDINGS, offering.right_name(name))
    except ApiError as error:
        if error.not_found:
            return []
        raise
    return list(found.get("subjects") or ())
