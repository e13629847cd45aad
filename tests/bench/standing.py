"""Many placements in place, and what happens around them: nothing, a target more, a target lost, a restart.

    python -m tests.bench.standing --placements 10000 --on-one 1000

`--on-one` of the placements prefer one target, and stand there. Then, one after the other: it is idle for a while, a
target is added, that one target is lost and comes back, all workers and NATS are killed and come back. But for the loss
nothing may be decided anew, and nothing written. Of the loss, discovery is to be sure after two seconds here, and the
controller moves away from it at once, as many placements a minute as there are.
"""

import argparse
import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from shared.hub.resources import DECISIONS, SYNCTARGETS
from shared.kube.informer import Informer
from tests.bench.load import Bench, Costs, Decision, bench, decoder
from tests.bench.machine import machine
from tests.support import worlds

ENV = {
    "MOORAGE_PROBE_INTERVAL_SECONDS": "2",
    "MOORAGE_LOST_AFTER_SECONDS": "2",
    "MOORAGE_EVICTION_TOLERATION_SECONDS": "0",
    "MOORAGE_MAX_MOVES_PER_MINUTE": "0",
    "MOORAGE_MAX_WORKSPACE_MOVES_PER_MINUTE": "0",
}
QUIET = 5.0  # seconds without a request for a placement
LOOK_EVERY = 0.25  # seconds
WITHIN = 900.0  # seconds
LOST, LATE = "cluster-000", "cluster-001"  # the target that is lost, and the one that is added


def prefers(name: str) -> dict[str, object]:
    """A placement's spec that prefers one target of `worlds.world` by its number."""
    term = {"matchExpressions": [{"key": "number", "operator": "In", "values": [str(int(name[-3:]))]}]}
    return {"affinity": {"tiers": [{"name": "one", "required": [term]}, {"name": "rest"}]}}


async def run(targets: int, placements: int, on_one: int, idle: float) -> None:
    async with bench(targets, env=ENV, delay=0.05) as system:
        print(f"machine: {machine()}")
        platform = system.admin.cluster(worlds.PLATFORM)
        late = await platform.get(SYNCTARGETS, LATE)
        await platform.delete(SYNCTARGETS, LATE)
        await _fill(system, placements, on_one)
        await _quiet(system)
        await _tell(system, f"{idle:g} s idle", lambda: asyncio.sleep(idle))

        async def add() -> None:
            spec = {"spec": late["spec"], "metadata": {"name": LATE, "labels": late["metadata"]["labels"]}}
            await platform.create(SYNCTARGETS, {**late, "status": None} | spec)
            await asyncio.sleep(idle)

        await _tell(system, f"a target added, {idle:g} s", add)
        if on_one:
            await _lose(system, on_one)
        await _restart(system)


async def _fill(system: Bench, placements: int, on_one: int) -> None:
    for title, number, spec in (("one", on_one, prefers(LOST)), ("app", placements - on_one, {})):
        names = [f"{title}-{each}" for each in range(number)]
        if names:
            await system.deployments(names)
            times = await system.place(names, within=WITHIN, **spec)
            print(f"{number} placed ({title}): Ready {times.a_second(times.ready):.1f}/s", flush=True)


async def _tell(system: Bench, what: str, act: Callable[[], Awaitable[object]]) -> None:
    before = await system.costs()
    await act()
    costs = (await system.costs()).since(before)
    print(f"{what}: {_said(costs)}", flush=True)


def _said(costs: Costs) -> str:
    requests = costs.by_worker()
    listed = ", ".join(f"{name} {seconds:.2f}" for name, seconds in costs.seconds.most_common())
    writes = costs.writes()
    written = f" ({', '.join(f'{count} {what}' for what, count in writes.most_common(5))})" if writes else ""
    return (
        f"{sum(writes.values())} writes{written}, {sum(requests.values())} requests for placements, "
        f"{costs.workers:.2f} s of the workers' CPU ({listed})"
    )


async def _quiet(system: Bench) -> float:
    """Wait until nothing is asked for placements; the moment since when."""
    since, last = time.perf_counter(), (await system.costs()).by_worker()
    async with asyncio.timeout(WITHIN):
        while time.perf_counter() - since < QUIET:
            await asyncio.sleep(LOOK_EVERY)
            if (now := (await system.costs()).by_worker()) != last:
                since, last = time.perf_counter(), now
    return since


async def _restart(system: Bench) -> None:
    """Kill NATS and all workers, and wait until all are ready again, and quiet."""
    before, began = await system.costs(), time.perf_counter()
    children = {name: child for name, child in system.running.children.items() if name != "sandbox"}
    ready = {name: _times_ready(system, name) for name in children}
    assert system.running.nats is not None
    system.running.nats.kill()
    for child in children.values():
        os.kill(child.pid or 0, signal.SIGKILL)
    async with asyncio.timeout(WITHIN):
        while any(_times_ready(system, name) == times for name, times in ready.items()):  # noqa: ASYNC110 - it is a log
            await asyncio.sleep(LOOK_EVERY)
    there, quiet = time.perf_counter() - began, await _quiet(system) - began
    after = await system.costs()
    costs = Costs(after.seconds, after.since(before).requests)
    print(f"killed with NATS: ready after {there:.1f} s, quiet after {quiet:.1f} s, {_said(costs)}", flush=True)


def _times_ready(system: Bench, name: str) -> int:
    return (Path(system.running.place.logs) / f"{name}.log").read_text().count('"message": "ready"')


async def _lose(system: Bench, number: int) -> None:
    """Take a target away; how long until everything that it had is decided anew, and Ready elsewhere."""
    decided: dict[str, float] = {}
    decisions = Informer(system.user, DECISIONS, namespace=worlds.NAMESPACE, decode=decoder(Decision))
    async with decisions, asyncio.timeout(WITHIN):
        await decisions.synced.wait()
        there = {name for (_, name), each in decisions.objects.items() if LOST in each.targets}
        began = time.perf_counter()
        await system.ask("POST", f"clusters/target:{LOST}/availability", {"available": False})
        async for change in decisions.events():
            if change.object and change.object.targets and LOST not in change.object.targets and change.key[1] in there:
                decided.setdefault(change.key[1], time.perf_counter() - began)
            if len(decided) == len(there):
                break
    first, last = min(decided.values()), max(decided.values())
    print(f"a target lost with {len(there)} placements ({number} prefer it): ", end="")
    print(f"first decided anew after {first:.1f} s, all {last - first:.1f} s later", flush=True)
    await system.ask("POST", f"clusters/target:{LOST}/availability", {"available": True})
    await _quiet(system)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=int, default=20)
    parser.add_argument("--placements", type=int, default=300)
    parser.add_argument("--on-one", type=int, default=100, help="of them, how many stand in the target that is lost")
    parser.add_argument("--idle", type=float, default=30.0, help="seconds (default: 30)")
    args = parser.parse_args()
    asyncio.run(run(args.targets, args.placements, args.on_one, args.idle))


if __name__ == "__main__":
    main()
