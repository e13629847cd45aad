"""What would become of placements, for people and for programs."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from services.cli.offline.changes import PlannedChange
from services.cli.planning.forecast import counts, moved
from services.cli.support.decisions import Place
from services.cli.support.output import aligned, printable

STILL = ("Unchanged", "Held")
"""What becomes of a placement to which nothing happens."""


def changed(found: Iterable[PlannedChange]) -> int:
    """How many placements something happens to."""
    return sum(each.kind not in STILL for each in found)


def as_json(places: Iterable[Place]) -> list[dict[str, Any]]:
    """Targets with their replicas, as JSON has them."""
    return [{"target": target.removeprefix("/"), "replicas": replicas} for target, replicas in places]


def plain(change: PlannedChange) -> dict[str, Any]:
    """A change as JSON has it."""

    return {
        "placement": change.placement.id.removeprefix("/"),
        "change": change.kind,
        "from": as_json(change.before),
        "to": as_json(change.after),
        "reasons": {target.removeprefix("/"): reason for target, reason in change.reasons.items()},
        "refusal": change.refusal,
        "cause": change.cause,
    }


def table(found: Sequence[PlannedChange]) -> Iterator[str]:
    """The lines of a table of all that does not stay as it is, with an empty one at its end; none where nothing does.

    Of one that is refused, or held, what runs stays where it is.
    """
    rows = [("PLACEMENT", "CHANGE", "FROM", "TO", "WHY")]
    rows += [
        (each.placement.id.removeprefix("/"), each.kind, named(each.before), named(each.after), printable(_why(each)))
        for each in found
        if each.kind != "Unchanged"
    ]
    if len(rows) > 1:
        yield from (*aligned(rows), "")


def show(found: Sequence[PlannedChange], output: str) -> None:
    """Print them, as a table or as JSON."""
    many, starting = changed(found), sum(map(moved, found))
    if output == "json":
        placements = [{**plain(each), "replicasStarted": moved(each)} for each in found]
        summary = {"placements": len(found), "changes": counts(found), "replicasStarted": starting}
        sys.stdout.write(json.dumps({"placements": placements, "summary": summary}) + "\n")
        return
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(counts(found).items()))
    said = f"{many} of {len(found)} placements would change ({kinds}); {starting} replicas would start elsewhere"
    sys.stdout.write("\n".join([*table(found), said if found else "there are no placements"]) + "\n")


def named(places: Iterable[Place]) -> str:
    """Targets with their replicas, for people."""
    shown = (target.removeprefix("/") + ("" if replicas is None else f"×{replicas}") for target, replicas in places)
    return ", ".join(shown) or "-"


def _why(change: PlannedChange) -> str:
    if change.refusal:
        return change.refusal
    return "; ".join(dict.fromkeys(change.reasons.values())) or change.cause or "-"
