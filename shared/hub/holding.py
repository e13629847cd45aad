"""Which policies hold for a placement, by where they are, by what its owner cannot change, and by its labels; and which
of their rules do not count for it.

Pure. What is not known of a placement (who asks, the labels of its workspace or namespace) gets nobody out of a policy,
nobody an exemption, and nobody the targets of a provider.
"""

from collections.abc import Callable, Iterable, Mapping

from shared.api import LabelSelector, PolicyMatch, Subject, matches
from shared.model.policy import Exemption, PolicyEntry
from shared.model.refs import above
from shared.model.request import Request, Requester, ScopeLabels
from shared.model.target import Workspace


def reaches(policy: str, workspace: str) -> bool:
    """True if a policy in one workspace holds in another: the same one, or one below it."""
    return policy in ("", workspace) or workspace.startswith(policy + ":")


def holds(policy: PolicyEntry, request: Request) -> bool:
    """True if a policy holds for the placement that a request is about, or nobody knows whether it does."""
    return _holds(policy, request, unknown=True)


def is_known_to_hold(policy: PolicyEntry, request: Request) -> bool:
    """True if a policy holds for the placement that a request is about, by what is known: it may give it something."""
    return _holds(policy, request, unknown=False)


def goes_by_namespaces(policies: Iterable[PolicyEntry]) -> bool:
    """True if any of the policies looks at the labels of namespaces."""
    return any(each.spec.match is not None and each.spec.match.namespace_selector is not None for each in policies)


def goes_by_workspaces(policies: Iterable[PolicyEntry]) -> bool:
    """True if any of the policies looks at the labels of workspaces."""
    return any(each.spec.match is not None and each.spec.match.workspace_selector is not None for each in policies)


def labels_for(
    policies: Iterable[PolicyEntry],
    workspace: str,
    known: Callable[[str], Workspace | None],
    namespace: dict[str, str] | None,
) -> ScopeLabels:
    """The labels by which any of these policies may choose placements of a workspace, in a namespace with these labels.

    `known` are workspaces by path.
    """
    policies = list(policies)
    return ScopeLabels(
        workspaces=labels_above(workspace, known) if goes_by_workspaces(policies) else {},
        namespace=namespace if goes_by_namespaces(policies) else None,
    )


def labels_above(workspace: str, known: Callable[[str], Workspace | None]) -> dict[str, dict[str, str]]:
    """The labels of a workspace and of those above it, by path, as far as they are known: those of the workspace where
    the tree begins, and of a hub without workspaces, are not."""
    found = ((path, known(path)) for path in above(workspace))
    return {path: each.labels for path, each in found if each is not None and not each.root}


def exempted(policy: PolicyEntry, request: Request, now: float) -> Mapping[str, str]:
    """The rules of a policy that do not count for a placement at a time (seconds since the epoch), each with the name
    of the exemption that says so."""
    found: dict[str, str] = {}
    for each in policy.exemptions:
        if each.expires > now and _is_for(each, request):
            for rule in each.spec.rules or (rule.name for rule in policy.spec.rules):
                found.setdefault(rule, each.name)
    return found


def by_labels(match: PolicyMatch) -> bool:
    """True if labels of workspaces or namespaces are asked for: tenants may write these, so they make nobody exempt."""
    return match.workspace_selector is not None or match.namespace_selector is not None


def _holds(policy: PolicyEntry, request: Request, *, unknown: bool) -> bool:
    match = policy.spec.match
    return (
        reaches(policy.workspace, request.placement.workspace)
        and (match is None or (_chooses(match, request, unknown) and _labelled(match, policy, request, unknown)))
        and matches(policy.spec.placement_selector, request.labels)
    )


def _is_for(exemption: Exemption, request: Request) -> bool:
    placements, match = exemption.spec.placements, exemption.spec.match
    named = not placements or request.placement.name in placements
    return named and not by_labels(match) and _chooses(match, request, unknown=False)


def _chooses(match: PolicyMatch, request: Request, unknown: bool) -> bool:
    """True if a placement is matched by names; `unknown` says whether one is for whom nobody is recorded, where it
    matters."""
    workspace, namespace = request.placement.workspace, request.placement.namespace
    if match.workspaces and not _below(match.workspaces, workspace):
        return False
    if match.namespaces and not _named(match.namespaces, namespace):
        return False
    if _below(match.excluded_workspaces, workspace) or _named(match.excluded_namespaces, namespace):
        return False
    if not match.subjects:
        return True
    return unknown if request.requester is None else _is_one_of(request.requester, match.subjects)


def _labelled(match: PolicyMatch, policy: PolicyEntry, request: Request, unknown: bool) -> bool:
    """True if the selectors by labels of workspaces and namespaces choose a placement.

    A workspace counts with all below it: else whoever may make workspaces would get out of a policy by making one.
    """
    known, workspace = request.scope_labels, request.placement.workspace
    if match.workspace_selector is not None:
        below = [each for each in above(workspace) if each != policy.workspace and reaches(policy.workspace, each)]
        labels = (known.workspaces.get(path) for path in below or [workspace])
        if not any(_has(match.workspace_selector, each, unknown) for each in labels):
            return False
    return match.namespace_selector is None or _has(match.namespace_selector, known.namespace, unknown)


def _has(selector: LabelSelector, labels: Mapping[str, str] | None, unknown: bool) -> bool:
    return unknown if labels is None else matches(selector, labels)


def _below(paths: Iterable[str], workspace: str) -> bool:
    return any(reaches(path, workspace) for path in paths)


def _named(patterns: Iterable[str], name: str) -> bool:
    """True if one of the patterns is the name, or the beginning of it before a *."""
    return any(name == each or (each.endswith("*") and name.startswith(each[:-1])) for each in patterns)


def _is_one_of(requester: Requester, subjects: Iterable[Subject]) -> bool:
    return any(
        each.name == requester.username if each.kind == "User" else each.name in requester.groups for each in subjects
    )
