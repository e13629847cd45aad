"""URLs of API servers: those of workspaces, and their queries."""

import functools
import re
from collections.abc import Mapping
from typing import Any

_CLUSTERS = re.compile(r"/clusters/[^/]+/?$")
_WORKSPACE = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(:[a-z0-9]([a-z0-9-]*[a-z0-9])?)*|\*")


@functools.lru_cache(1000)
def workspace_url(server: str, workspace: str) -> str:
    """The URL of a logical cluster (a path such as `root:team`, or a cluster name) of the kcp at `server`.

    `server` may itself point to a workspace. An empty workspace is the server as it is, as on plain Kubernetes.
    Raises ValueError for what is no workspace path.
    """
    if not workspace:
        return server
    if not _WORKSPACE.fullmatch(workspace):
        raise ValueError(f"{workspace!r} is not a workspace path")
    return f"{_CLUSTERS.sub('', server)}/clusters/{workspace}"


def encode_params(params: Mapping[str, Any] | None) -> dict[str, str]:
    """Query parameters as API servers read them: booleans in lower case, what is None or empty left out."""
    encoded: dict[str, str] = {}
    for name, value in (params or {}).items():
        if value is None or value == "":
            continue
        encoded[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return encoded
