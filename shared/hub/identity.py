"""Which cluster a client reaches: the uid of its namespace kube-system, which it has for life and no other has."""

import re
from typing import NamedTuple

import msgspec

from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import NAMESPACES

_UID = re.compile(r"[0-9A-Za-z-]{8,64}")


class ClusterIdentity(NamedTuple):
    """The uid of a cluster, empty where it is not to be had, and then why not."""

    uid: str
    problem: str = ""


class _Meta(msgspec.Struct):
    uid: str = ""


class _Namespace(msgspec.Struct):
    metadata: _Meta


async def identify(client: Client) -> ClusterIdentity:
    """Ask which cluster it is, in one request. Raises KubeError where there is no answer that will stay as it is."""
    try:
        uid = (await client.get(NAMESPACES, "kube-system", type=_Namespace)).metadata.uid
    except ApiError as error:
        if error.forbidden or error.not_found:
            return ClusterIdentity("", str(error))
        raise
    return ClusterIdentity(uid) if _UID.fullmatch(uid) else ClusterIdentity("", "it has no uid")


def by_address(client: Client) -> str:
    """A stand-in for a cluster whose uid is not to be had, where the operator lets that do."""
    return f"address-{client.place}"
