"""Users, the groups they are in, and what else is known of them."""

from typing import NamedTuple

ADMINS = "system:masters"
KCP_ADMINS = "system:kcp:admin"
INTAKE = "moorage:intake"
"""The worker that takes requests from the bus to the hub, in the name of others."""

AUTHENTICATED = "system:authenticated"
ANONYMOUS = "system:anonymous"
SCOPES = "authentication.kcp.io/scopes"
"""In `extra`: the logical clusters, as `cluster:<id>` by comma, that a user is who it is in. Of several, all hold."""

CLUSTER_NAME = "authentication.kubernetes.io/cluster-name"
"""In `extra`: the logical cluster that a ServiceAccount is of."""


class User(NamedTuple):
    """Somebody as the authenticator knows them; `extra` is by key, in order."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()
