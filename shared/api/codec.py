"""Objects to and from JSON, with errors that say where and what."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from shared.api.binding import PlacementBinding
from shared.api.cluster_request import ClusterRequest
from shared.api.decision import PlacementDecision
from shared.api.meta import ApiObject
from shared.api.override import PlacementOverride
from shared.api.placement import Placement
from shared.api.policy import PlacementPolicy
from shared.api.policy_exception import PolicyException
from shared.api.quota import PlacementQuota
from shared.api.revision import PlacementRevision
from shared.api.synctarget import SyncTarget
from shared.api.workload_kind import WorkloadKind

KINDS: dict[str, type[ApiObject]] = {
    "SyncTarget": SyncTarget,
    "Placement": Placement,
    "PlacementPolicy": PlacementPolicy,
    "PolicyException": PolicyException,
    "PlacementDecision": PlacementDecision,
    "PlacementBinding": PlacementBinding,
    "PlacementRevision": PlacementRevision,
    "PlacementOverride": PlacementOverride,
    "WorkloadKind": WorkloadKind,
    "ClusterRequest": ClusterRequest,
    "PlacementQuota": PlacementQuota,
}

Object = TypeVar("Object", bound=ApiObject)
Source = bytes | str | Mapping[str, Any]


class InvalidObject(ValueError):
    """An object that does not fit its kind; the message names the kind, what is wrong, and the path."""


def decode(kind: type[Object], source: Source) -> Object:
    """The object in JSON text or in an already decoded mapping. Unknown fields are ignored: the API server prunes.

    Raises:
        InvalidObject: it is no JSON, or does not fit the kind.
    """
    try:
        if isinstance(source, Mapping):
            return msgspec.convert(source, kind)
        return msgspec.json.decode(source, type=kind)
    except RecursionError:
        raise InvalidObject(f"{kind.__name__}: nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidObject(f"{kind.__name__}: {error}") from None


def decode_synctarget(source: Source) -> SyncTarget:
    """A SyncTarget; see `decode`."""
    return decode(SyncTarget, source)


def decode_workloadkind(source: Source) -> WorkloadKind:
    """A WorkloadKind; see `decode`."""
    return decode(WorkloadKind, source)


def decode_placement(source: Source) -> Placement:
    """A Placement; see `decode`."""
    return decode(Placement, source)


def decode_policy(source: Source) -> PlacementPolicy:
    """A PlacementPolicy; see `decode`."""
    return decode(PlacementPolicy, source)


def decode_policyexception(source: Source) -> PolicyException:
    """A PolicyException; see `decode`."""
    return decode(PolicyException, source)


def decode_revision(source: Source) -> PlacementRevision:
    """A PlacementRevision; see `decode`."""
    return decode(PlacementRevision, source)


def decode_decision(source: Source) -> PlacementDecision:
    """A PlacementDecision; see `decode`."""
    return decode(PlacementDecision, source)


def decode_clusterrequest(source: Source) -> ClusterRequest:
    """A ClusterRequest; see `decode`."""
    return decode(ClusterRequest, source)


def decode_binding(source: Source) -> PlacementBinding:
    """A PlacementBinding; see `decode`."""
    return decode(PlacementBinding, source)


def decode_override(source: Source) -> PlacementOverride:
    """A PlacementOverride; see `decode`."""
    return decode(PlacementOverride, source)


def decode_quota(source: Source) -> PlacementQuota:
    """A PlacementQuota; see `decode`."""
    return decode(PlacementQuota, source)


def encode(value: ApiObject) -> bytes:
    """The object as JSON, with apiVersion and kind, without what is unset."""
    return msgspec.json.encode(value)


def to_dict(value: ApiObject) -> dict[str, Any]:
    """The object as plain dictionaries and lists, as in its JSON."""
    result: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(value))
    return result
