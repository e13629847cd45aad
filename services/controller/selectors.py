"""Which placements of a workspace an object may concern, by what their selectors name."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from shared.api import Placement, WorkloadSelector
from shared.hub.selecting import of_kinds

Key = tuple[str, str]
"""Namespace and name of an object."""

Kind = tuple[str, str]
"""apiVersion and kind."""

_Place = tuple[Kind, str, str | None]
"""A kind, a namespace and a name; no name stands for whatever labels select there."""


class SelectorIndex:
    """The selectors of all placements, so that a change of one object costs the same however many there are."""

    def __init__(self) -> None:
        self._by_place: defaultdict[_Place, dict[Key, None]] = defaultdict(dict)
        self._places: dict[Key, frozenset[_Place]] = {}

    def put(self, key: Key, placement: Placement | None) -> None:
        """Note what a placement selects; None: it is gone."""
        selectors = placement.spec.workload if placement is not None else ()
        new = frozenset(place for selector in selectors for one in of_kinds(selector) for place in _places(key[0], one))
        old = self._places.pop(key, frozenset())
        for place in old - new:
            del self._by_place[place][key]
            if not self._by_place[place]:
                del self._by_place[place]
        for place in new - old:
            self._by_place[place][key] = None
        if new:
            self._places[key] = new

    def concerned(self, kind: Kind, namespace: str, name: str) -> Iterable[Key]:
        """The placements that may select an object. Labels are not looked at, since they may have been others."""
        places = ((kind, namespace, name), (kind, namespace, None))
        return list(dict.fromkeys(key for place in places for key in self._by_place.get(place, ())))

    def selecting(self, kind: Kind) -> list[Key]:
        """The placements that select anything of a kind."""
        return list(dict.fromkeys(key for place, keys in self._by_place.items() if place[0] == kind for key in keys))


def _places(namespace: str, selector: WorkloadSelector) -> Iterator[_Place]:
    kind = (selector.api_version, selector.kind)
    yield kind, namespace, selector.name
    if selector.name is not None:
        yield kind, "", selector.name  # whether the kind lies in namespaces is not known here
