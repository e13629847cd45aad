"""Who has to leave where, for whom."""

from shared.model.refs import PlacementRef
from shared.model.value import Value


class Victim(Value, frozen=True, kw_only=True):
    """A placement that has to leave a target, by id, for others that wait for its room: those of higher rank `by`
    whom it is preempted. It stands for as long as it holds something there, and one of them waits."""

    placement: PlacementRef
    target: str
    by: tuple[PlacementRef, ...]

    def said_of(self, reader: PlacementRef) -> str:
        """For whom it leaves, as whoever may read the placement `reader` may know: names only of its own namespace."""
        home = (reader.workspace, reader.namespace)
        named = sorted(each.name for each in self.by if (each.workspace, each.namespace) == home)
        others = len(self.by) - len(named)
        said = [f"placement {name}" for name in named]
        if others:
            said.append("another placement" if others == 1 else f"{others} other placements")
        return " and ".join(said)
