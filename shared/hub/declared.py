"""Kinds of workloads as workspaces declare them (WorkloadKind), and what each workspace knows by that. Pure.

A declaration holds in its workspace and everywhere below. Where several declare one kind, the one nearest to the root
counts: nobody counts less by declaring otherwise what those above have declared.
"""

import hashlib
from collections.abc import Iterable

import msgspec

from shared.api import CountField, NameField, PodGroup, StateRule, WorkloadKindSpec
from shared.hub.kinds import Count, Kind, Kinds, NamedIn, Path, PodSet, StateSign
from shared.model.declared import DeclaredKind
from shared.model.refs import above


def kinds_of(workspace: str, declared: Iterable[DeclaredKind]) -> Kinds:
    """What a workspace knows, of all that is declared anywhere."""
    homes, found = set(above(workspace)), dict[tuple[str, str], Kind]()
    holding = (each for each in declared if each.workspace in homes)
    for each in sorted(holding, key=lambda each: (len(each.workspace), each.name)):
        found.setdefault((each.spec.group, each.spec.kind), kind_from(each.spec))
    return Kinds(found)


def kind_from(spec: WorkloadKindSpec) -> Kind:
    """The facts on a kind, as they are declared."""
    bare = spec.replicas is not None or spec.on_every_node
    single = len(spec.pods) == 1 and spec.pods[0].each is None and not spec.pods[0].counts
    return Kind(
        pods=_path(spec.pods[0].template) if bare and single else None,
        sets=() if bare and single else tuple(_pod_set(each) for each in spec.pods),
        replicas=_path(spec.replicas) if spec.replicas is not None else None,
        ready=_path(spec.ready) if spec.ready is not None else None,
        on_every_node=spec.on_every_node,
        ends=any(each.means in ("Succeeded", "Failed") for each in spec.states),
        expires=_path(spec.expires) if spec.expires is not None else None,
        grows=tuple(_path(each) for each in spec.grows),
        references=tuple(_named_in(each) for each in spec.references),
        states=tuple(_state(each) for each in spec.states),
        declared=True,
    )


def digest_of(kinds: Kinds, used: Iterable[tuple[str, str]]) -> str:
    """A digest of what is declared of the kinds that are `used` (API version and kind); empty where nothing is."""
    facts = {" ".join(each): msgspec.to_builtins(kind) for each in used if (kind := kinds.named(*each)).declared}
    if not facts:
        return ""
    return hashlib.sha256(msgspec.json.encode(facts, order="deterministic")).hexdigest()[:16]


def _pod_set(group: PodGroup) -> PodSet:
    return PodSet(
        each=None if group.each is None else _path(group.each),
        template=_path(group.template),
        counts=tuple(map(_count, group.counts)),
    )


def _count(field: CountField) -> Count:
    bounds = (_path(each) if each is not None else None for each in (field.at_least, field.at_most))
    return Count(_path(field.path), field.default, *bounds)


def _named_in(field: NameField) -> NamedIn:
    each = None if field.each is None else _path(field.each)
    return NamedIn(path=_path(field.path), kind=field.kind, each=each, optional=field.optional)


def _state(rule: StateRule) -> StateSign:
    path = None if rule.path is None else _path(rule.path)
    return StateSign(means=rule.means, condition=rule.condition or "", path=path, values=rule.values)


def _path(text: str) -> Path:
    return tuple(text.split("."))
