"""Who a token stands for, and what RBAC objects of a logical cluster let that user do."""

from collections.abc import Iterable, Mapping
from itertools import chain, islice, product
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from services.sandbox.access.users import ADMINS, ANONYMOUS, AUTHENTICATED, CLUSTER_NAME, SCOPES, User
from services.sandbox.data import load
from services.sandbox.errors import ApiError, Document, forbidden
from services.sandbox.state.clusters import Cluster
from services.sandbox.state.store import Key, Store
from shared.api.selectors import LabelSelector, matches

SERVICE_ACCOUNT = "system:serviceaccount:"
SERVICE_ACCOUNTS = "system:serviceaccounts"
BINDING = "apis.kcp.io:binding:"
"""Begins the names of consumers' users and groups in the RBAC of an export's workspace."""

RBAC_GROUP = "rbac.authorization.k8s.io"
_ROLES = load(Path(__file__).with_name("roles.yaml"))
BUILTIN_ROLES: Mapping[str, list[Document]] = _ROLES["roles"]
_MOST_ASKED = 1000


class Attributes(NamedTuple):
    """What is asked for: a resource (`resource` may have a `/subresource`) or a non-resource `path`."""

    verb: str
    group: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


class Bound(NamedTuple):
    """One rule, for the subjects it is bound to, in one namespace or (empty) in the cluster."""

    subjects: frozenset[tuple[str, str]]
    namespace: str
    rule: Document


_EVERYBODYS = [Bound(frozenset(), "", rule) for rule in _ROLES["everybody"]]


class Tokens:
    """Bearer tokens. A token for a target cluster is known there alone; the others are known in every workspace."""

    def __init__(self) -> None:
        self._users: dict[tuple[str, str], User] = {}

    def add(self, token: str, user: User, realm: str = "") -> None:
        self._users[realm, token] = user

    def drop(self, token: str, realm: str = "") -> None:
        self._users.pop((realm, token), None)

    def user(self, authorization: str, realm: str = "") -> User | None:
        """The user of an Authorization header, none if there is none."""
        scheme, _, presented = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return None
        user = self._users.get((realm, presented.strip()))
        return user._replace(groups=(*user.groups, AUTHENTICATED)) if user else None


def local(cluster: Cluster, user: User) -> User:
    """Who a user is in this cluster. In kcp a user that is confined to others is but somebody authenticated, and a
    ServiceAccount of another goes by a name that says of which."""
    extra = dict(user.extra)
    if cluster.is_target:
        return user
    if any(f"cluster:{cluster.id}" not in scopes.split(",") for scopes in extra.get(SCOPES, ())):
        return User(ANONYMOUS, (AUTHENTICATED,))
    home = extra.get(CLUSTER_NAME, (cluster.id,))
    if user.name.startswith(SERVICE_ACCOUNT) and home != (cluster.id,):
        name = f"system:kcp:serviceaccount:{':'.join(home)}:{user.name.removeprefix(SERVICE_ACCOUNT)}"
        return User(name, (AUTHENTICATED,))
    return user


def allowed(store: Store, cluster: Cluster, user: User, wanted: Attributes, *, enters: bool = True) -> bool:
    """True if the cluster lets the user do this. In workspaces kcp asks for `access` on `/` before anything else of who
    `enters`; it does not where it asks by itself about somebody who is elsewhere."""
    user = local(cluster, user)
    if ADMINS in user.groups:
        return True
    host = cluster.bounds.get((wanted.group, wanted.resource.partition("/")[0]))
    if host and not _within(store, host, user, wanted):
        return False
    rules = _rules(store, cluster)
    subjects = {("User", user.name), *(("Group", group) for group in user.groups)}
    if user.name.startswith(SERVICE_ACCOUNT):
        subjects.add(("ServiceAccount", user.name.removeprefix(SERVICE_ACCOUNT)))
    mine = [bound for bound in rules if subjects & bound.subjects]
    if AUTHENTICATED in user.groups and any(_covers(bound, wanted) for bound in _EVERYBODYS):
        return True
    if enters and not cluster.is_target and not any(_covers(bound, Attributes("access", path="/")) for bound in mine):
        return False
    return any(_covers(bound, wanted) for bound in mine)


def refused(cluster: Cluster, user: User, wanted: Attributes) -> ApiError:
    """The refusal of what is not allowed; a workspace ends it as kcp does."""
    end = "" if cluster.is_target else ": access denied"
    if wanted.path:
        return forbidden(f'forbidden: User "{user.name}" cannot {wanted.verb} path "{wanted.path[:200]}"{end}')
    plural = f"{wanted.resource.partition('/')[0]}.{wanted.group}".rstrip(".")
    where = f' in the namespace "{wanted.namespace}"' if wanted.namespace else " at the cluster scope"
    quoted = f'"{wanted.name}" ' if wanted.name else ""
    message = (
        f'{plural} {quoted}is forbidden: User "{user.name}" cannot {wanted.verb} resource "{wanted.resource}" '
        f'in API group "{wanted.group}"{where}{end}'
    )
    return forbidden(message, plural, wanted.name)


def _within(store: Store, host: Cluster, user: User, wanted: Attributes) -> bool:
    """Whether the maximal permission policy of an export, by RBAC in its workspace, has nothing against it."""
    subjects = {("User", BINDING + user.name), *(("Group", BINDING + group) for group in user.groups)}
    return any(_covers(bound, wanted) for bound in _rules(store, host) if subjects & bound.subjects)


def rules_of(store: Store, cluster: Cluster, user: User, namespace: str) -> list[Document]:
    """The rules that hold for a user in a namespace, for SelfSubjectRulesReview."""
    user = local(cluster, user)
    subjects = {("User", user.name), *(("Group", group) for group in user.groups)}
    if ADMINS in user.groups:
        return BUILTIN_ROLES["cluster-admin"]
    return [
        bound.rule
        for bound in _rules(store, cluster)
        if subjects & bound.subjects and bound.namespace in ("", namespace)
    ]


def exceeding(store: Store, cluster: Cluster, user: User, at: tuple[str, str], document: Document) -> Document | None:
    """The first rule of a role, or of the role that a binding binds, which the writer does not have, or that is
    too wide to be looked through; `at` is the plural and the namespace. Whoever may escalate has them all."""
    plural, namespace = at
    if allowed(store, cluster, user, Attributes("escalate", RBAC_GROUP, plural, namespace)):
        return None
    bound = _bound(store, cluster.name, document) if "roleRef" in document else ()
    rules: list[Document] = [*(document.get("rules") or ()), *(each.rule for each in bound)]
    for rule in rules:
        asked = list(islice(_asked(rule, namespace), _MOST_ASKED + 1))
        if len(asked) > _MOST_ASKED or not all(allowed(store, cluster, user, each) for each in asked):
            return rule
    return None


def _asked(rule: Document, namespace: str) -> Iterable[Attributes]:
    """Everything that a rule allows, one by one."""
    verbs = rule.get("verbs") or ()
    paths = (Attributes(verb, path=path) for verb, path in product(verbs, rule.get("nonResourceURLs") or ()))
    things = product(
        verbs, rule.get("apiGroups") or (), rule.get("resources") or (), rule.get("resourceNames") or ("",)
    )
    named = (Attributes(verb, group, plural, namespace, name) for verb, group, plural, name in things)
    return chain(paths, named)


def _covers(bound: Bound, wanted: Attributes) -> bool:
    rule = bound.rule
    if not _has(rule.get("verbs"), wanted.verb):
        return False
    if wanted.path:
        return not bound.namespace and _matches_path(rule.get("nonResourceURLs") or (), wanted.path)
    if bound.namespace and bound.namespace != wanted.namespace:
        return False
    names = rule.get("resourceNames")
    return (
        _has(rule.get("apiGroups"), wanted.group)
        and _has_resource(rule.get("resources") or (), wanted.resource)
        and (not names or wanted.name in names)
    )


def _has(values: Iterable[str] | None, wanted: str) -> bool:
    return values is not None and ("*" in values or wanted in values)


def _has_resource(values: Iterable[str], wanted: str) -> bool:
    _, _, subresource = wanted.partition("/")
    return "*" in values or wanted in values or bool(subresource and f"*/{subresource}" in values)


def _matches_path(patterns: Iterable[str], path: str) -> bool:
    return any(path == pattern or (pattern.endswith("*") and path.startswith(pattern[:-1])) for pattern in patterns)


def _rules(store: Store, cluster: Cluster) -> list[Bound]:
    """The cluster's bindings with their rules, kept until an RBAC object changes."""
    if not isinstance(cluster.rules, list):
        cluster.rules = [
            bound
            for plural in ("clusterrolebindings", "rolebindings")
            for entry in store.entries(cluster.name, f"{plural}.{RBAC_GROUP}")
            for bound in _bound(store, cluster.name, entry.document())
        ]
    return cluster.rules


def _bound(store: Store, cluster: str, binding: Any) -> Iterable[Bound]:
    namespace = binding["metadata"].get("namespace", "")
    subjects = frozenset(
        (subject["kind"], f"{subject.get('namespace', namespace)}:{subject['name']}")
        if subject["kind"] == "ServiceAccount"
        else (subject["kind"], subject["name"])
        for subject in binding.get("subjects") or ()
    )
    reference = binding["roleRef"]
    name = reference.get("name", "")
    scope = namespace if reference.get("kind") == "Role" else ""
    plural = "roles" if scope else "clusterroles"
    found = store.get(Key(cluster, f"{plural}.{RBAC_GROUP}", scope, name))
    rules = _gathered(store, cluster, found.document()) if found else BUILTIN_ROLES.get(name) if not scope else None
    return [Bound(subjects, namespace, rule) for rule in rules or ()]


def _gathered(store: Store, cluster: str, role: Any) -> list[Document]:
    """The rules of a role: those of all ClusterRoles that it gathers by their labels, where it does."""
    selectors = (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or ()
    if not selectors:
        return role.get("rules") or []
    wanted = [msgspec.convert(each, LabelSelector) for each in selectors]
    others = (entry.document() for entry in store.entries(cluster, f"clusterroles.{RBAC_GROUP}"))
    return [
        rule
        for other in others
        if any(matches(each, other["metadata"].get("labels") or {}) for each in wanted)
        for rule in other.get("rules") or ()
    ]
