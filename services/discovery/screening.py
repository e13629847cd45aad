"""Targets screened and sorted out for requests, remembered: most requests ask for the same as one shortly before."""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from services.discovery.core import (
    Candidate,
    Screened,
    Served,
    Sorted,
    Workspaces,
    providers_of,
    screen,
    served,
    sort_out,
)
from shared.aio.lru import Lru
from shared.broker.table import View
from shared.model.policy import PolicyEntry
from shared.model.request import Permission, Request
from shared.model.target import Target, Workspace

REMEMBERED = 32
"""Outcomes, with up to all targets in each."""


class _Case(NamedTuple):
    """What was sorted out, and of what: the same objects give the same outcome."""

    screened: Screened
    permissions: Mapping[str, Permission]
    outcome: Sorted


class Screening:
    """Screens and sorts out what is followed now; see `screen` and `sort_out`. `trusted`: the operator's providers."""

    def __init__(
        self,
        inventory: View[Target],
        workspaces: View[Workspace],
        policies: View[PolicyEntry],
        trusted: tuple[str, ...],
    ) -> None:
        self._inventory = inventory
        self._workspaces = workspaces
        self._policies = policies
        self._trusted = trusted
        self._candidates: dict[str, tuple[int, Candidate]] = {}
        self._makes: dict[Served, Served] = {}
        self._seen = (-1, -1, -1)
        self._labels = Workspaces({})
        self._naming: list[PolicyEntry] = []  # policies that name providers
        self._screened: Lru[tuple[str, tuple[str, ...], bytes], Screened] = Lru(REMEMBERED)
        self._sorted: Lru[tuple[int, int, Served, frozenset[str]], _Case] = Lru(REMEMBERED)

    def screened(self, request: Request) -> Screened:
        """The targets that may be asked about for a request."""
        self._catch_up()
        providers = (*self._trusted, *providers_of(request, self._naming))
        key = (request.placement.workspace, providers, msgspec.json.encode(request.spec.targets.workspaces))
        found = self._screened.get(key)
        if found is None:
            candidates = (candidate for _, candidate in self._candidates.values())
            self._screened.put(key, found := screen(request, candidates, self._labels, providers))
        return found

    def sorted_out(
        self, screened: Screened, permissions: Mapping[str, Permission], needed: Served, may_stay: frozenset[str]
    ) -> Sorted:
        """Who of the screened is left."""
        key = (id(screened), id(permissions), needed, may_stay)
        known = self._sorted.get(key)
        if known is None or known.screened is not screened or known.permissions is not permissions:
            known = _Case(screened, permissions, sort_out(screened, permissions, needed, may_stay))
            self._sorted.put(key, known)
        return known.outcome

    def _catch_up(self) -> None:
        """Take in what changed since the last time. What a target serves is worked out once per change of it."""
        seen = (self._inventory.changed, self._workspaces.changed, self._policies.changed)
        if seen == self._seen:
            return
        entries = self._inventory.entries
        if seen[0] != self._seen[0]:
            for key in self._candidates.keys() - entries.keys():
                del self._candidates[key]
            if len(self._makes) > len(entries):
                self._makes.clear()
            for key, entry in entries.items():
                if key not in self._candidates or self._candidates[key][0] != entry.revision:
                    found = served(entry.value)
                    found = self._makes.setdefault(found, found)
                    self._candidates[key] = (entry.revision, Candidate(entry.value.id, entry.value, found))
        paths = self._workspaces.entries.values()
        self._labels = Workspaces({entry.value.path: entry.value.labels for entry in paths})
        self._naming = [entry.value for entry in self._policies.entries.values() if entry.value.spec.providers]
        self._screened.clear()
        self._sorted.clear()
        self._seen = seen
