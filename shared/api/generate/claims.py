"""What Moorage asks to see and write in the workspaces that use it on kcp: the claims of its APIExport. Pure."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

Identities = Mapping[tuple[str, str], str]
"""The identity hash under which a workspace has a resource from an APIExport, by group and resource."""


class Claim(NamedTuple):
    """One resource, with the verbs that are asked for, and what they are for.

    `built_in` says that kcp itself has the resource in every workspace. Others come to workspaces from an APIExport,
    whose identity hash a claim has to name.
    """

    group: str
    resource: str
    verbs: tuple[str, ...]
    why: str
    built_in: bool = False

    @property
    def name(self) -> str:
        """As `kubectl` names it: `deployments.apps`."""
        return f"{self.resource}.{self.group}".rstrip(".")

    def asked(self, identity: str = "") -> dict[str, Any]:
        """The claim as an APIExport has it."""
        named = {"identityHash": identity} if identity else {}
        return {"group": self.group, "resource": self.resource, **named, "verbs": list(self.verbs)}


_READ: Final = ("get", "list", "watch")
_READ_AND_REPORT: Final = (*_READ, "patch")

_WORKLOAD: Final = (
    "workloads that Placements select: read to be placed, patched in their status alone, to say how they are"
)
_BESIDE: Final = "goes along with the workload that it is for"

CLAIMS: Final[tuple[Claim, ...]] = (
    Claim("", "configmaps", _READ, "those that a workload refers to go along with it", True),
    Claim("", "events", ("create", "patch"), "what became of a Placement is told as Events on it", True),
    Claim("", "namespaces", _READ, "their labels are carried to the namespaces in targets", True),
    Claim("", "persistentvolumeclaims", _READ, "those that a workload refers to go along with it"),
    Claim(
        "",
        "secrets",
        _READ,
        "those that a workload refers to go along with it, if the requester may read them; kubeconfigs of targets too",
        True,
    ),
    Claim("", "serviceaccounts", _READ, "those that a workload refers to go along with it", True),
    Claim("", "services", _READ, _BESIDE),
    Claim("apps", "daemonsets", _READ_AND_REPORT, _WORKLOAD),
    Claim("apps", "deployments", _READ_AND_REPORT, _WORKLOAD),
    Claim("apps", "statefulsets", _READ_AND_REPORT, _WORKLOAD),
    Claim("autoscaling", "horizontalpodautoscalers", _READ, _BESIDE),
    Claim("batch", "cronjobs", _READ, "workloads that Placements select"),
    Claim("batch", "jobs", _READ_AND_REPORT, _WORKLOAD),
    Claim("networking.k8s.io", "ingresses", _READ, _BESIDE),
    Claim("networking.k8s.io", "networkpolicies", _READ, _BESIDE),
    Claim("policy", "poddisruptionbudgets", _READ, _BESIDE),
    Claim(
        "rbac.authorization.k8s.io",
        "clusterrolebindings",
        ("list", "watch"),
        "a change of who may use targets is seen at once",
        True,
    ),
    Claim("rbac.authorization.k8s.io", "clusterroles", ("list", "watch"), "the same", True),
)
"""Everything that is asked for. kcp refuses an APIExport that claims without identity what kcp does not build in."""


def claimable(identities: Identities) -> list[Claim]:
    """What can be claimed, given the identities that are known."""
    return [each for each in CLAIMS if each.built_in or (each.group, each.resource) in identities]


def unclaimable(identities: Identities) -> list[Claim]:
    """What cannot be, as long as nobody says from which APIExport it comes."""
    return [each for each in CLAIMS if each not in claimable(identities)]
