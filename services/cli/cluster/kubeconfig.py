"""The kubeconfig that the hub has of a cluster, as workers use it."""

import base64
from typing import TYPE_CHECKING

from services.cli.cluster.hub import ClusterHub
from services.cli.support.errors import CommandError
from shared.api import SyncTarget
from shared.kube.errors import ApiError, ConfigError
from shared.kube.resources import SECRETS

if TYPE_CHECKING:
    from shared.kube.auth.kubeconfig import Credentials


async def stored(hub: ClusterHub, found: SyncTarget) -> "Credentials":
    """What the Secret of a SyncTarget says. Raises CommandError where there is none that can be used."""
    from shared.kube.auth.kubeconfig import load_kubeconfig

    ref = found.spec.kubeconfig_secret_ref
    if found.spec.cluster_profile_ref is not None:
        raise CommandError(
            f"{hub.named(found.metadata.name)} is reached by an access provider, whose program only workers have"
        )
    if ref is None:
        raise CommandError(f"{hub.named(found.metadata.name)} names no Secret with its kubeconfig")
    where = f"Secret {ref.namespace}/{ref.name}"
    try:
        secret = await hub.client.get(SECRETS, ref.name, ref.namespace)
        content = base64.b64decode((secret.get("data") or {}).get(ref.key, ""), validate=True)
        return load_kubeconfig(content + b"\n")  # the line break makes it content, and no name of a file
    except ApiError as error:
        if error.not_found:
            raise CommandError(f"{where} does not exist, which is to hold the kubeconfig of the cluster") from None
        raise
    except (ConfigError, ValueError) as error:
        raise CommandError(f"{where} holds no kubeconfig that can be used: {error}") from None
