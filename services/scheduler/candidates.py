"""The candidates as filters and scorers see them: rows of the snapshot, looked at for one request."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, reduce
from typing import Any, TypeVar

import numpy as np

from services.scheduler.demand import Demands, demands_of
from services.scheduler.settings import SchedulerSettings
from services.scheduler.snapshot import Snapshot
from shared.api import AffinityTerm, LabelSelector, duration_seconds
from shared.api.selectors import AffinityRequirement, LabelRequirement, matches_all
from shared.columns import Array, Bools, Floats, Ints
from shared.model.request import Request
from shared.model.resources import Resources, with_tolerance
from shared.model.target import Target

T = TypeVar("T")
PluginAnswers = Mapping[tuple[str, str], Array]
"""Answers of plugins: a column per kind (scorer, filter) and name, one value per candidate."""


Facts = dict[Any, Any]
"""What was worked out from facts on targets: columns by family and key, what filters and scorers say by their names."""
_ONLY, _ROWS, _INDEX, _NOBODY, _EQUALS = "only", "rows", "index", "nobody", "equals"
"""In facts: those on some of the candidates, by which these are; their rows; what finds them in a column; none of them;
and what was worked out for requests that are equals, with what makes them so."""
MOST_SUBSETS = 8
"""Whose facts are kept: requests that ask alike for different amounts fit in different targets."""
OF_WHAT_IS_TAKEN = ("used", "spare", "quota_left")
"""Families of columns that change with reservations."""


def _asked(request: Request, settings: SchedulerSettings, plugin_answers: PluginAnswers) -> tuple[Any, ...] | None:
    """All of a request that decides what facts on targets mean for it; None where more does."""
    spec, home = request.spec, request.placement
    near, far = spec.affinity.placement_affinity, spec.affinity.placement_anti_affinity
    if (
        request.previous
        or request.leaving
        or request.preempted
        or spec.overrides
        or request.variants
        or plugin_answers
        or near
        or far
    ):
        return None
    kinds = tuple((each.api_version, each.kind, each.guarded, each.brings) for each in request.workload)
    wanted = (spec.targets, spec.affinity, spec.spread, spec.replicas, spec.strategy)
    return (kinds, home.workspace, home.namespace, *wanted, settings)


class Candidates:
    """One request against some rows of a snapshot. Every array has one value per row of `rows`, in that order."""

    def __init__(
        self,
        request: Request,
        snapshot: Snapshot,
        rows: Ints,
        settings: SchedulerSettings,
        now: float,
        plugin_answers: PluginAnswers | None = None,
        *,
        demands: Demands | None = None,
        facts: Facts | None = None,
        known: Facts | None = None,
        assuming: bool = True,
    ) -> None:
        self.request = request
        self.spec = request.spec
        self.snapshot = snapshot
        self.rows = rows
        self.settings = settings
        self.now = now
        self.plugin_answers = plugin_answers or {}
        self.assuming = assuming
        """Whether capacity that others are assumed to take is taken."""
        asked = _asked(request, settings, self.plugin_answers) if facts is None else None
        self.facts = snapshot.facts(rows, asked) if facts is None else facts
        """What was worked out from the facts on the candidates alone: other requests that ask alike have it too."""
        self.asks_alike = asked is not None
        """Whether these are all the candidates, and facts on them mean the same for all that ask alike."""
        if _INDEX not in self.facts:
            self.facts[_INDEX] = slice(len(rows)) if _in_order(rows) else rows  # a slice of a column copies nothing
            self.facts[_NOBODY] = np.zeros(len(rows), np.bool_)
            self.facts[_NOBODY].flags.writeable = False
        self.index: Ints | slice = self.facts[_INDEX]
        self._known: Facts = self._of_equals() if known is None else known
        self.previous = self._at([choice.target for choice in request.previous])
        """Which candidates the placement is on already."""
        self.leaving = self._at(request.leaving)
        """Which candidates the placement has to leave: lost or expelling for longer than it is to be tolerated."""
        self.waited_for = self.previous
        """Which candidates are not ready, but run the placement, which need not leave yet."""
        if request.previous:
            self.waited_for = self.previous & ~self.leaving & ~self.values("ready")
        self.quotas = snapshot.quotas(request.placement.workspace)
        """The workspace paths whose quotas bound this placement, in some targets at least."""
        self.demands = demands or self.same("demands", lambda: Demands(demands_of(request), self._which()))
        """What is asked for in each candidate."""

    def __len__(self) -> int:
        return len(self.rows)

    def only(self, kept: Bools) -> "Candidates":
        """The same request on fewer rows."""
        if np.count_nonzero(kept) == len(kept):  # on few targets, several times as fast as all()
            return self
        (places,) = kept.nonzero()
        plugin_answers = {key: column[places] for key, column in self.plugin_answers.items()}
        demands = self.demands.only(places)
        some: dict[bytes, Facts] = self.facts.setdefault(_ONLY, {})
        facts = some.get(which := kept.tobytes())
        if facts is None:
            if len(some) == MOST_SUBSETS:
                some.clear()
            facts = some[which] = {_ROWS: self.rows[places]}
        known: Facts = self.same(
            (_ONLY, which),
            lambda: {fact: self._known[fact][places] for fact in self._amounts if fact in self._known},
        )
        return Candidates(
            self.request,
            self.snapshot,
            facts[_ROWS],
            self.settings,
            self.now,
            plugin_answers,
            demands=demands,
            facts=facts,
            known=known,
            assuming=self.assuming,
        )

    def values(self, family: str, key: Any = None) -> Array:
        """One fact of the candidates, see `snapshot.VALUES`; not to be written to."""
        if family in OF_WHAT_IS_TAKEN:
            return self.snapshot.values(family, key)[self.index]
        column = self.facts.get((family, key))
        if column is None:
            column = self.facts[family, key] = self.snapshot.values(family, key)[self.index]
        return column

    def alike(self, name: tuple[str, str], work: Callable[[], T]) -> T:
        """What `work` makes of the facts on the candidates alone, for this request and all that ask alike."""
        if name not in self.facts:
            self.facts[name] = work()
        found: T = self.facts[name]
        return found

    def same(self, name: Any, work: Callable[[], T]) -> T:
        """What `work` makes of the facts, of what is taken and of what is asked for: for this request and its equals.

        Equals ask alike, for the same amounts, and nothing else was taken in between.
        """
        if name not in self._known:
            self._known[name] = work()
        found: T = self._known[name]
        return found

    def some(self, family: str, which: Ints | Bools) -> list[Any]:
        """One fact of some candidates, chosen by position or by a True for each."""
        facts: list[Any] = self.snapshot.values(family)[self.rows[which]].tolist()
        return facts

    def has(self, family: str, fact: str | None, key: Any = None) -> Bools:
        """Which candidates have that fact, see `snapshot.CODES`."""
        column = self.snapshot.codes(family, key)
        found: Bools = column.among((fact,))[column.values[self.index]]
        return found

    @property
    def moves(self) -> bool:
        """Whether a healthy placement may move to better targets now: it wants to, and the last move is long ago."""
        rebalance = self.spec.stability.rebalance
        if rebalance.type != "WhenBetter":
            return False
        moved_at = self.request.moved_at
        return not moved_at or self.now - moved_at >= duration_seconds(rebalance.cooldown)

    def used(self, resource: str) -> Floats:
        """What others request of a resource, and what this placement runs on every node.

        Its own present reservation does not count against it.
        """
        if ("used", resource) not in self._known:
            used: Floats = self.values("used", resource)
            placement, otherwise = self.request.placement, self._otherwise
            if otherwise:
                used = used.copy()
            for position, there in otherwise.items():
                used[position] = self.snapshot.used(there, resource, placement, assumed=self.assuming)
            on_nodes = self._on_every_node(resource)
            self._known["used", resource] = used + on_nodes if isinstance(on_nodes, np.ndarray) else used
        found: Floats = self._known["used", resource]
        return found

    def free(self, resource: str) -> Floats:
        """What is left of a resource for this placement. A target that is waited for gives what it gave before, and so
        does one that it has to leave for others, until it is told to."""
        if ("free", resource) not in self._known:
            free = self.values("allocatable", resource) - self.used(resource)
            for position, held in self._held.items():
                on_nodes = self.demands.at(position).on_every_node.get(resource, 0.0) * self.values("nodes")[position]
                free[position] = held.get(resource, 0.0) - on_nodes
            self._known["free", resource] = free
        found: Floats = self._known["free", resource]
        return found

    def quota_left(self, path: str, resource: str) -> Floats:
        """What the quota for a path leaves of a resource for this placement; inf where a candidate has none.

        As with ResourceQuota, what the placement holds in a target it may keep, also if the quota is less by now.
        """
        left: Floats = self.values("quota_left", (path, resource))
        placement, otherwise = self.request.placement, self._otherwise
        reserved = self.snapshot.taken.reservations.get(placement, {})
        if otherwise:
            left = left.copy()
        for position, there in otherwise.items():
            left[position] = self.snapshot.quota_left(there, path, resource, placement, assumed=self.assuming)
            if there.id in reserved:
                left[position] = max(left[position], reserved[there.id].resources.get(resource, 0.0))
        return left - self._on_every_node(resource)

    def spare(self, resource: str) -> Floats:
        """What is free of a resource, and as much more as rounding may have cost."""
        if ("spare", resource) not in self._known:
            as_for_all = not self._otherwise and not self._held and not self.demands.anywhere_on_every_node
            self._known["spare", resource] = (
                self.values("spare", resource) if as_for_all else with_tolerance(self.free(resource))
            )
        found: Floats = self._known["spare", resource]
        return found

    def room(self, resource: str) -> Floats:
        """What this placement may take of a resource: what is `spare`, as far as quotas leave it."""
        left = (with_tolerance(self.quota_left(path, resource)) for path in self.quotas)
        return reduce(np.minimum, left, self.spare(resource))

    @property
    def _amounts(self) -> Iterator[tuple[str, str]]:
        """The facts that are columns of amounts, of what has to be there."""
        return ((family, resource) for family in ("used", "spare") for resource in self.demands.needed)

    @cached_property
    def _otherwise(self) -> dict[int, Target]:
        """The candidates of which more is free for this placement than the columns say, by position."""
        taken = self.snapshot.taken
        targets = {*taken.targets_of(self.request.placement), *(() if self.assuming else taken.assumed_in)}
        found = ((position, self.rows[position]) for each in targets if (position := self.position(each)) is not None)
        return {position: self.snapshot.target(row) for position, row in found}

    @cached_property
    def _held(self) -> dict[int, Resources]:
        """What the placement holds in each target that gives just that, by position."""
        if not self.request.previous:
            return {}
        taken, placement = self.snapshot.taken, self.request.placement
        reserved = taken.reservations.get(placement, {})
        (positions,) = (self.waited_for | self._at(taken.awaited(placement)) & self.previous).nonzero()
        found = map(reserved.get, self.some("id", positions))
        return {
            position: reservation.resources if reservation else {}
            for position, reservation in zip(positions.tolist(), found, strict=True)
        }

    def _on_every_node(self, resource: str) -> Floats | float:
        each = self.demands.on_every_node(resource)
        return each * self.values("nodes") if isinstance(each, np.ndarray) or each else 0.0

    @cached_property
    def holding(self) -> Ints:
        """The overrides that hold in each candidate: bit i stands for the i-th."""
        held = np.zeros(len(self.rows), np.int64)
        for place, each in enumerate(self.spec.overrides):
            held |= self.selected(each.target_selector).astype(np.int64) << place
        return held

    def overrides_at(self, position: int) -> tuple[int, ...]:
        """The overrides that were counted for a candidate, by their places in the spec."""
        which = 0 if self.demands.which is None else self.demands.which[position]
        return self.request.variants[which - 1].overrides if which else ()

    def _of_equals(self) -> Facts:
        """The place for what was worked out for the equals of this request, which are the last that asked alike.

        It has none where the placement itself takes something already, or not all that is taken counts.
        """
        taken, workload = self.snapshot.taken, self.request.workload
        if not self.asks_alike or (taken.assumed_in and not self.assuming) or taken.targets_of(self.request.placement):
            return {}
        amounts = [(each.replicas, each.on_every_node, *each.requests.items()) for each in workload]
        asked = (self.snapshot.changes_taken, amounts)
        if _EQUALS not in self.facts or self.facts[_EQUALS][0] != asked:
            self.facts[_EQUALS] = (asked, {})
        known: Facts = self.facts[_EQUALS][1]
        return known

    def _which(self) -> Ints | None:
        """For each candidate the number of its variant, from 1; 0 where no override holds, or those are not counted.

        None where there are no overrides, or the controller is one that does not count them.
        """
        if not self.spec.overrides or not self.request.input_digest:
            return None
        which = np.zeros(len(self.rows), np.intp)
        for number, each in enumerate(self.request.variants, 1):
            which[self.holding == sum(1 << place for place in each.overrides)] = number
        return which

    def position(self, target: str) -> int | None:
        """Where among the candidates a target is."""
        row = self.snapshot.rows.get(target)
        position = -1 if row is None else int(self._positions[row])
        return position if position >= 0 else None

    @cached_property
    def _positions(self) -> Ints:
        """The position of each row of the snapshot among the candidates, -1 where it is none."""
        positions = np.full(self.snapshot.height, -1, np.intp)
        positions[self.rows] = np.arange(len(self.rows))
        return positions

    def selected(self, selector: LabelSelector | None) -> Bools:
        """Which candidates' labels satisfy a selector."""
        if selector is None:
            return self.satisfied(())
        matched = self.satisfied(selector.match_expressions)
        for key, value in selector.match_labels.items():
            matched &= self.has("label", value, key)
        return matched

    def satisfied(self, requirements: Iterable[LabelRequirement | AffinityRequirement]) -> Bools:
        """Which candidates' labels satisfy every requirement."""
        matched = [self._satisfied(requirement) for requirement in requirements]
        return reduce(np.logical_and, matched) if matched else np.ones(len(self.rows), np.bool_)

    def any_of(self, terms: Sequence[AffinityTerm]) -> Bools:
        """Which candidates satisfy at least one of the terms, as core/v1 NodeSelector; without terms, all of them."""
        if not terms:
            return np.ones(len(self.rows), np.bool_)
        return np.asarray(np.any([self.satisfied(term.match_expressions) for term in terms], axis=0), np.bool_)

    def _satisfied(self, requirement: LabelRequirement | AffinityRequirement) -> Bools:
        """Asked of the label's distinct values, then looked up."""
        column = self.snapshot.codes("label", requirement.key)
        match requirement.operator:
            case "In":
                answers = column.among(requirement.values)
            case "NotIn":
                answers = ~column.among(requirement.values)
            case "Exists":
                answers = ~column.among((None,))
            case "DoesNotExist":
                answers = column.among((None,))
            case _:
                labels = [{} if value is None else {requirement.key: value} for value in column.distinct]
                answers = np.array([matches_all((requirement,), each) for each in labels] or [False])
        found: Bools = answers[column.values[self.index]]
        return found

    def _at(self, targets: Sequence[str]) -> Bools:
        """Which candidates are these targets; not to be written to."""
        if not targets:
            nobody: Bools = self.facts[_NOBODY]
            return nobody
        marked = np.zeros(len(self.rows), np.bool_)
        for target in targets:
            position = self.position(target)
            if position is not None:
                marked[position] = True
        return marked


def _in_order(rows: Ints) -> bool:
    """Whether these are the first rows, one after the other."""
    return len(rows) > 0 and int(rows[-1]) == len(rows) - 1 and np.count_nonzero(rows - np.arange(len(rows))) == 0
