"""`moorage cluster drain`: have everything that Moorage placed leave a cluster, each once it runs elsewhere."""

import argparse
import json
import sys
import time
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import msgspec

from services.cli.cluster.facts import Occupant, readiness, short, some, tolerating
from services.cli.cluster.hub import ClusterHub, opened
from services.cli.cluster.standing import placements_of, why_here
from services.cli.support.draining import drained
from services.cli.support.errors import CommandError
from services.cli.support.output import aligned, note
from shared.api import SyncTarget
from shared.kube.times import rfc3339
from shared.model.refs import PlacementRef, TargetRef

if TYPE_CHECKING:
    from services.cli.cluster.moves import Move

LEAST_PAUSE = 1.0  # seconds between two looks
SHARE = 4  # a look that takes a second is followed by as many without one
SHOWN = 20  # placements that are named, of those that stay


async def run(args: argparse.Namespace) -> None:
    """Drain it, or say what would happen."""
    async with opened(args) as hub:
        found = await hub.target(args.name)
        if args.dry_run:
            await _foretell(hub, args)
            return
        await begin(hub, found)
        await until_empty(hub, args.name, args.timeout)
    sys.stdout.write(f"nothing is placed in {hub.named(args.name)} any more\n")


async def begin(hub: ClusterHub, found: SyncTarget) -> None:
    """Have everything leave a cluster, if it does not do so already."""
    taints = drained(found.spec.taints, rfc3339(time.time(), "seconds"))
    if not found.spec.unschedulable or taints != found.spec.taints:
        await hub.change(found, {"unschedulable": True, "taints": [msgspec.to_builtins(each) for each in taints]})


async def until_empty(hub: ClusterHub, name: str, timeout: float) -> None:
    """Wait until nothing is placed there, and tell of each that leaves. Raises CommandError, which names what stays."""
    import asyncio

    begun = time.monotonic()
    before: dict[PlacementRef, Occupant] = {}
    said = -1
    while True:
        looked = time.monotonic()
        everywhere = await hub.placed()
        here = {each.placement: each for each in everywhere if each.target == hub.id(name)}
        for ref in before.keys() - here.keys():
            sys.stdout.write(f"{short(ref)} has left{_now_in(ref, everywhere)}\n")
        sys.stdout.flush()
        if not here:
            return
        if len(here) != said:
            note(f"{len(here)} still there")
            said = len(here)
        held = await _staying(hub, here)
        if len(held) == len(here):
            raise CommandError(f"{hub.named(name)}: {_listed(held)}")
        await _refuse_unreachable(hub, name, here.values())
        now = time.monotonic()
        if now - begun >= timeout:
            waiting = {ref: await why_here(hub, each) for ref, each in list(here.items())[:SHOWN]}
            more = f"; and {len(here) - SHOWN} more" if len(here) > SHOWN else ""
            raise CommandError(
                f"after {timeout:g} s {len(here)} are still in {hub.named(name)}, which goes on being drained: "
                f"{_listed(waiting)}{more}"
            )
        before = here
        await asyncio.sleep(max(LEAST_PAUSE, SHARE * (now - looked)))


async def _staying(hub: ClusterHub, here: Collection[PlacementRef]) -> dict[PlacementRef, str]:
    """Those that tolerate the taint, so that nobody has to wait for them."""
    found = await placements_of(hub, here)
    return {ref: "stays, since it tolerates the taint" for ref, each in found.items() if tolerating(each)}


async def _refuse_unreachable(hub: ClusterHub, name: str, here: Iterable[Occupant]) -> None:
    """Raises CommandError where all that is left to do is to take things away in a cluster that does not answer."""
    left = list(here)
    if not all(each.binding.metadata.deletion_timestamp for each in left):
        return
    ready, why = readiness(await hub.target(name))
    if not ready:
        raise CommandError(
            f"{hub.named(name)} does not answer ({why}), so that what {len(left)} placements have there stays until it "
            f"does ({some(each.placement for each in left)}); they run elsewhere, or wait until they are gone here "
            "(stability.moves). If it is gone for good: "
            f"moorage cluster leave {name} --abandon"
        )


def _now_in(ref: PlacementRef, everywhere: Iterable[Occupant]) -> str:
    targets = sorted(
        TargetRef.parse(each.target).name
        for each in everywhere
        if each.placement == ref and not each.binding.metadata.deletion_timestamp
    )
    return f", and is in {', '.join(targets)}" if targets else ""


def _listed(found: dict[PlacementRef, str]) -> str:
    return "; ".join(f"{short(ref)} {why}" for ref, why in sorted(found.items())[:SHOWN])


async def _foretell(hub: ClusterHub, args: argparse.Namespace) -> None:
    """Print the moves. Raises CommandError where something would stay."""
    from services.cli.cluster.moves import moves

    given = args.trusted_providers
    trusted = None if given is None else [path.strip() for path in given.split(",") if path.strip()]
    placed = await hub.placed(hub.id(args.name))
    found = await moves(hub, args.name, placed, trusted)
    if args.output == "json":
        sys.stdout.write(json.dumps({"moves": [_as_json(each) for each in found]}, indent=2) + "\n")
    elif found:
        rows = [["PLACEMENT", "FROM", "TO"], *map(_as_row, found)]
        sys.stdout.write("\n".join(aligned(rows)) + "\n")
    else:
        sys.stdout.write(f"nothing is placed in {hub.named(args.name)}\n")
    if staying := [each for each in found if each.stays]:
        raise CommandError(f"{len(staying)} of {len(found)} would stay: {some(each.placement for each in staying)}")


def _as_row(move: "Move") -> list[str]:
    before, after = (", ".join(TargetRef.parse(each).name for each in some) for some in (move.before, move.after))
    return [short(move.placement), before or "-", f"stays: {move.stays}" if move.stays else after or "nowhere"]


def _as_json(move: "Move") -> dict[str, object]:
    return {
        "workspace": move.placement.workspace,
        "namespace": move.placement.namespace,
        "name": move.placement.name,
        "before": list(move.before),
        "after": list(move.after),
        "stays": move.stays,
    }
