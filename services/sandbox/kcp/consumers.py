"""What one workspace lets an export see, as its APIBinding says."""

from collections.abc import Mapping
from typing import NamedTuple

from services.sandbox.errors import Document
from services.sandbox.schemas.resources import qualified
from services.sandbox.state.clusters import Cluster

GROUP = "apis.kcp.io"
BINDINGS = f"apibindings.{GROUP}"
READING = ("get", "list", "watch")


class Claim(NamedTuple):
    """A claim that both sides agreed on: of kinds of this identity (empty where they are built in), and the verbs that
    both name."""

    identity: str
    verbs: frozenset[str]


class Consumer(NamedTuple):
    """What one workspace lets an export see: the resources that it bound, and the claims that it accepted."""

    binding: str
    bound: frozenset[str]
    claims: Mapping[str, Claim]

    def lets(self, resource: str, verb: str) -> bool:
        """Whether the export may do this here."""
        claim = self.claims.get(resource)
        return (
            resource in self.bound
            or (claim is not None and bool(claim.verbs & {verb, "*"}))
            or (resource == BINDINGS and verb in READING)
        )

    def shows(self, resource: str, cluster: Cluster) -> bool:
        """Whether objects of this kind are listed and watched, also across consumers, where verbs do not count. Of
        kinds of one name those of the claimed identity are, not those that the workspace has from elsewhere."""
        if resource in self.bound or resource == BINDINGS:
            return True
        claim = self.claims.get(resource)
        plural, _, group = resource.partition(".")
        origin = cluster.bound.get((group, plural))
        return claim is not None and claim.identity == (origin.identity if origin else "")


def consumer(binding: Document, claimed: list[Document]) -> Consumer:
    """What this binding makes of its workspace, to an export that claims this. What was bound stays so until the
    binding goes; one that waits shows itself and what it accepts."""
    bound = (binding.get("status") or {}).get("boundResources") or ()
    claims = {}
    for claim, verbs in agreed(binding["spec"].get("permissionClaims") or [], claimed)[0]:
        claims[qualified(claim["group"], claim["resource"])] = Claim(claim.get("identityHash", ""), verbs)
    return Consumer(
        binding["metadata"]["name"], frozenset(qualified(each["group"], each["resource"]) for each in bound), claims
    )


def agreed(accepted: list[Document], claimed: list[Document]) -> tuple[list[tuple[Document, frozenset[str]]], str]:
    """The claims that are both asked for and accepted, with the verbs that both name; and what is wrong.

    As in kcp `*` is but another word for both to name: it does not stand for the verbs of the other side.
    """
    asked = {_claim_key(claim): claim for claim in claimed}
    applied, odd = [], []
    for claim in accepted:
        key = _claim_key(claim)
        if key not in asked:
            odd.append(qualified(*key[:2]))
        elif claim.get("state") == "Accepted":
            both = frozenset(claim.get("verbs") or ()) & frozenset(asked[key].get("verbs") or ())
            scoped = {name: value for name, value in claim.items() if name != "state"}
            applied.append(({"group": "", **scoped}, both))
    return applied, f"the export does not claim {', '.join(odd)}" if odd else ""


def _claim_key(claim: Document) -> tuple[str, str, str]:
    return claim.get("group", ""), claim["resource"], claim.get("identityHash", "")
