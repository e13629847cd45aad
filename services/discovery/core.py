"""Which targets a request may use, and why it may not use the others."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from operator import attrgetter

import msgspec

from shared.api import LabelSelector, WorkspaceSelector, matches
from shared.hub.holding import is_known_to_hold, reaches
from shared.model.decision import Rejection
from shared.model.policy import PolicyEntry
from shared.model.reasons import RejectionCode, Stage, may_name
from shared.model.request import Permission, Request
from shared.model.target import Target

Served = frozenset[tuple[str, str]]
"""The apiVersion and kind of everything that a target serves."""

NOT_TRUSTED = (
    "of providers that are not trusted (named by spec.targets.workspaces, a PlacementPolicy's spec.providers or the "
    "setting trusted_providers)"
)
NAMED_KINDS = 3  # missing kinds that a message names before it says how many more
NAMED_VERSIONS = 3  # versions, the best ones, that it says are served in place of a missing one


class Candidate(msgspec.Struct, frozen=True):
    """A target and its id, with what it serves. Targets that serve the same should share one `served`: that is fast."""

    id: str
    target: Target
    served: Served


_ID = attrgetter("id")


class Screened(msgspec.Struct, frozen=True):
    """The candidates that may be asked about, in order of their `ids`, and the targets that fell out before that."""

    candidates: tuple[Candidate, ...]
    ids: tuple[str, ...]
    rejections: tuple[Rejection, ...]


class Sorted(msgspec.Struct, frozen=True):
    """The targets that a request may use, and who fell out in this stage."""

    targets: tuple[str, ...]
    rejections: tuple[Rejection, ...]


class Workspaces:
    """Answers whether a selector admits a workspace, each question once."""

    def __init__(self, labels: Mapping[str, Mapping[str, str]]) -> None:
        """`labels` of all known workspaces, by path."""
        self._labels = labels

    def admits(self, selector: WorkspaceSelector, path: str) -> bool:
        """True if the selector chooses the workspace. One of unknown labels is in no selection by labels."""
        if selector.paths and not any(
            _within(path, root, descendants=selector.include_descendants) for root in selector.paths
        ):
            return False
        return selector.selector is None or self._labelled(selector.selector, path)

    def _labelled(self, selector: LabelSelector, path: str) -> bool:
        labels = self._labels.get(path)
        return labels is not None and matches(selector, labels)


def _within(path: str, root: str, *, descendants: bool) -> bool:
    return path == root or (descendants and path.startswith(f"{root}:"))


def served(target: Target) -> Served:
    """All that a target serves, in all versions."""
    return frozenset(
        (f"{api.group}/{version}" if api.group else version, api.kind)
        for api in target.apis
        for version in api.versions
    )


def providers_of(request: Request, policies: Iterable[PolicyEntry]) -> tuple[str, ...]:
    """The workspaces that the policies which hold for a placement name as providers, with everything below."""
    named = (
        policy.spec.providers
        for policy in policies
        if policy.spec.providers and policy.spec.enforcement == "Enforced" and is_known_to_hold(policy, request)
    )
    return tuple(dict.fromkeys(path for paths in named for path in paths))


def trusts(request: Request, workspace: str, providers: Collection[str]) -> bool:
    """True if the targets of a workspace may be candidates: those of the placement's own and of its ancestors, of those
    that the Placement itself names, and of the `providers`, with everything below."""
    named = request.spec.targets.workspaces
    return (
        bool(named.paths)
        or named.selector is not None
        or reaches(workspace, request.placement.workspace)
        or any(_within(workspace, path, descendants=True) for path in providers)
    )


def screen(
    request: Request, candidates: Iterable[Candidate], workspaces: Workspaces, providers: Collection[str] | None
) -> Screened:
    """The targets in the selected workspaces that are offered to the placement's workspace.

    Nobody's targets attract strangers, see `trusts`; None for `providers`: whoever offers targets is trusted.
    """
    selector = request.spec.targets.workspaces
    home = request.placement.workspace
    kept: list[Candidate] = []
    elsewhere: list[Candidate] = []
    strange: list[Candidate] = []
    withheld: list[Candidate] = []
    lists: dict[str, list[Candidate]] = {}  # where the targets of a workspace go, for all that the workspace decides
    for candidate in candidates:
        target = candidate.target
        into = lists.get(target.workspace)
        if into is None:
            if not workspaces.admits(selector, target.workspace):
                into = elsewhere
            elif providers is None or trusts(request, target.workspace, providers):
                into = kept
            else:
                into = strange
            lists[target.workspace] = into
        if into is kept and target.allowed_workspaces is not None:
            into = kept if workspaces.admits(target.allowed_workspaces, home) else withheld
        into.append(candidate)
    found = (
        (RejectionCode.NOT_SELECTED_WORKSPACE, "in other workspaces", elsewhere),
        (RejectionCode.PROVIDER_NOT_TRUSTED, NOT_TRUSTED, strange),
        (RejectionCode.WORKSPACE_NOT_ALLOWED, "not offered to this workspace", withheld),
    )
    kept.sort(key=_ID)
    return Screened(
        tuple(kept),
        tuple(map(_ID, kept)),
        tuple(_rejection(reason, message, sorted(map(_ID, those))) for reason, message, those in found if those),
    )


def may_stay_on(request: Request) -> frozenset[str]:
    """The targets that a placement is on and need not leave."""
    return frozenset(choice.target for choice in request.previous).difference(request.leaving)


def sort_out(
    screened: Screened, permissions: Mapping[str, Permission], needed: Served, may_stay: Collection[str]
) -> Sorted:
    """Who of the screened is left. A target without a permission has none: it counts as unknown, never as allowed.

    A target that is not ready is no candidate, unless it is one of those where the placement `may_stay`.
    """
    lacking: dict[Served, str] = {}  # targets of one make serve the same
    targets: list[str] = []
    rejected: dict[tuple[RejectionCode, str], list[str]] = defaultdict(list)
    for candidate in screened.candidates:
        target = candidate.target
        permission = permissions.get(candidate.id, "Unknown")
        if permission != "Allowed":
            rejected[_REFUSED[permission]].append(candidate.id)
            continue
        if not target.ready:
            if candidate.id in may_stay:  # it is waited for; what it serves is not known for sure
                targets.append(candidate.id)
            else:
                rejected[RejectionCode.NOT_READY, target.reason or "not ready"].append(candidate.id)
            continue
        if candidate.served not in lacking:
            lacking[candidate.served] = _lack(needed - candidate.served, target)
        if lacking[candidate.served]:
            rejected[RejectionCode.MISSING_API, lacking[candidate.served]].append(candidate.id)
        else:
            targets.append(candidate.id)
    found = (_rejection(reason, message, ids) for (reason, message), ids in rejected.items())
    return Sorted(tuple(targets), tuple(_told(each) for each in (*screened.rejections, *found)))


def _rejection(reason: RejectionCode, message: str, ids: Iterable[str]) -> Rejection:
    return Rejection(stage=Stage.DISCOVERY, reason=reason, message=message, targets=tuple(ids))


def _told(rejection: Rejection) -> Rejection:
    """As the next stages see it, and in the end the tenant: names are for who may use the target."""
    return rejection if may_name(rejection) else msgspec.structs.replace(rejection, targets=(), unnamed=rejection.count)


_REFUSED: dict[Permission, tuple[RejectionCode, str]] = {
    "Denied": (RejectionCode.NOT_AUTHORIZED, "not authorized"),
    "NoAccess": (RejectionCode.NOT_AUTHORIZED, "not authorized (no access to the workspace)"),
    "NoRequester": (RejectionCode.NOT_AUTHORIZED, "no requester recorded on the Placement"),
    "Unknown": (RejectionCode.AUTHORIZATION_UNKNOWN, "of unknown authorization"),
    "Unasked": (
        RejectionCode.AUTHORIZATION_UNKNOWN,
        "not asked about in time (one review for each, as no right is for all of them): ask again",
    ),
}


def _lack(missing: Served, target: Target) -> str:
    """`lack batch/v1 CronJob`, as in "3 lack ..."; empty when nothing is missing."""
    if not missing:
        return ""
    names = [f"{api_version} {kind}{_instead(api_version, kind, target)}" for api_version, kind in sorted(missing)]
    more = f" and {len(names) - NAMED_KINDS} more" if len(names) > NAMED_KINDS else ""
    return f"lack {', '.join(names[:NAMED_KINDS])}{more}"


def _instead(api_version: str, kind: str, target: Target) -> str:
    """` (serve v1beta1)` where the kind is served in other versions only."""
    group = api_version.rpartition("/")[0]
    versions = next((api.versions for api in target.apis if (api.group, api.kind) == (group, kind)), ())
    return f" (serve {', '.join(versions[:NAMED_VERSIONS])})" if versions else ""
