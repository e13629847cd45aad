"""Many placements in place, and what happens around them: nothing, a target more, a target lost, a restart.

    python -m tests.bench.standing --placements 10000 --on-one 1000

A few are placed, and what these left is written for all others (`tests/support/standing.py`) while the workers are
stopped; so they begin anew with all in place. `--on-one` of the placements prefer one target, and stand there. Then,
one after the other: it is idle for a while, a target is added, all workers and NATS are killed and come back, that one
target is lost. But for the loss nothing may be decided anew, and nothing written; where something is, it is told why
rounds were begun. Of the loss, discovery is to be sure after ten seconds here (on a busy machine a target that is well
may not answer for some), and the controller moves away from it at once, as many placements a minute as there are.
"""

import argparse
import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from shared.broker.table import Table
from shared.hub.resources import DECISIONS, SYNCTARGETS
from shared.kube.informer import Informer
from shared.model.refs import TargetRef
from shared.pipeline.buckets import INVENTORY
from tests.bench.load import Bench, Costs, Decision, bench, decoder
from tests.bench.machine import machine
from tests.support import worlds
from tests.support.standing import copied, left_by, stand

ENV = {
    "MOORAGE_PROBE_INTERVAL_SECONDS": "2",
    "MOORAGE_LOST_AFTER_SECONDS": "10",
    "MOORAGE_EVICTION_TOLERATION_SECONDS": "0",
    "MOORAGE_MAX_MOVES_PER_MINUTE": "0",
    "MOORAGE_MAX_WORKSPACE_MOVES_PER_MINUTE": "0",
}
QUIET = 5.0  # seconds without a request for a placement
LOOK_EVERY = 0.25  # seconds
PATTERNS = 20  # placements of which what is left is written for others
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
        await _tell(system, f"{idle:g} s idle", lambda: asyncio.sleep(idle))

        async def add() -> None:
            spec = {"spec": late["spec"], "metadata": {"name": LATE, "labels": late["metadata"]["labels"]}}
            await platform.create(SYNCTARGETS, {**late, "status": None} | spec)
            await asyncio.sleep(idle)

        await _tell(system, f"a target added, {idle:g} s", add)
        await _restart(system, "killed with NATS", ("nats", *_workers(system)))
        if on_one:
            await _lose(system)


async def _fill(system: Bench, placements: int, on_one: int) -> None:
    """Have so many placements in place, some of which prefer one target."""
    plain, one = [f"pattern-{number:02}-plain" for number in range(PATTERNS)], ["pattern-of-one"]
    await system.deployments([*plain, *one])
    await system.place(plain, within=WITHIN)
    await system.place(one, within=WITHIN, **prefers(LOST))
    await _quiet(system)
    for name in _workers(system):
        os.kill(system.running.children[name].pid or 0, signal.SIGSTOP)
    began = time.perf_counter()
    async with system.store() as store, system.targets() as clients:
        for title, number, patterns in (("app", placements - on_one, plain), ("one", on_one, one)):
            found = [await left_by(name, system.user, clients, store) for name in patterns]
            made = (copied(found[each % len(found)], f"{title}-{each:05}") for each in range(number))
            await stand(made, system.load, store)
    print(f"{placements} written in {time.perf_counter() - began:.1f} s", flush=True)
    await _restart(system, "workers killed", _workers(system))


def _workers(system: Bench) -> tuple[str, ...]:
    return tuple(name for name in system.running.children if name != "sandbox")


async def _tell(system: Bench, what: str, act: Callable[[], Awaitable[object]]) -> None:
    before = await system.costs()
    await act()
    costs = (await system.costs()).since(before)
    print(f"{what}: {_said(costs)}", flush=True)


def _said(costs: Costs) -> str:
    requests = costs.by_form()
    asked = f" ({', '.join(f'{count} {what}' for what, count in requests.most_common(5))})" if requests else ""
    listed = ", ".join(f"{name} {seconds:.2f}" for name, seconds in costs.seconds.most_common())
    writes = costs.writes()
    written = f" ({', '.join(f'{count} {what}' for what, count in writes.most_common(5))})" if writes else ""
    return (
        f"{sum(writes.values())} writes{written}, {sum(requests.values())} requests for placements{asked}, "
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


async def _restart(system: Bench, what: str, names: Sequence[str]) -> None:
    """Kill processes, and wait until all workers are ready again, and quiet."""
    before, began, asked = await system.costs(), time.perf_counter(), _causes(system)
    ready = {name: _times_ready(system, name) for name in _workers(system)}
    for name in names:
        if name == "nats":
            assert system.running.nats is not None
            system.running.nats.kill()
        else:
            os.kill(system.running.children[name].pid or 0, signal.SIGKILL)
    async with asyncio.timeout(WITHIN):
        while any(_times_ready(system, name) == times for name, times in ready.items()):  # noqa: ASYNC110 - it is a log
            await asyncio.sleep(LOOK_EVERY)
    there, quiet = time.perf_counter() - began, await _quiet(system) - began
    after = await system.costs()
    seconds = after.seconds - Counter({"sandbox": before.seconds["sandbox"]})  # all others began anew
    costs = Costs(seconds, after.since(before).requests)
    print(f"{what}: ready after {there:.1f} s, quiet after {quiet:.1f} s, {_said(costs)}", flush=True)
    if rounds := _causes(system) - asked:
        print(f"{what}: rounds were begun: {dict(rounds)}", flush=True)


def _causes(system: Bench) -> Counter[str]:
    """Why rounds were begun so far, by the controller's log."""
    lines = (Path(system.running.place.logs) / "controller.log").read_text().splitlines()
    asked = (json.loads(line) for line in lines if '"placement requested"' in line)
    return Counter(f"{each['cause']} {each.get('detail', '')}".rstrip() for each in asked)


def _times_ready(system: Bench, name: str) -> int:
    return (Path(system.running.place.logs) / f"{name}.log").read_text().count('"message": "ready"')


async def _lose(system: Bench) -> None:
    """Take a target away; how long until everything that it had is decided anew, and Ready elsewhere."""
    decided: dict[str, float] = {}
    sure = 0.0
    decisions = Informer(system.user, DECISIONS, namespace=worlds.NAMESPACE, decode=decoder(Decision))
    async with decisions, asyncio.timeout(WITHIN):
        await decisions.synced.wait()
        there = {name for (_, name), each in decisions.objects.items() if LOST in each.targets}
        before, began, posted = await system.costs(), time.perf_counter(), time.time()
        await system.ask("POST", f"clusters/target:{LOST}/availability", {"available": False})
        async for change in decisions.events():
            if change.object and change.object.targets and LOST not in change.object.targets and change.key[1] in there:
                decided.setdefault(change.key[1], time.perf_counter() - began)
            if decided and not sure:
                async with system.store() as store:
                    found = await Table(store, INVENTORY).get(TargetRef(workspace=worlds.PLATFORM, name=LOST).key)
                sure = found.value.lost_since - posted if found is not None else 0.0
            if len(decided) == len(there):
                break
    first, last = min(decided.values()), max(decided.values())
    costs = (await system.costs()).since(before)
    print(f"a target lost with {len(there)} placements: ", end="")
    print(f"it counts as lost after {sure:.1f} s, the first is decided anew {first - sure:.1f} s later, ", end="")
    print(f"all {last - sure:.1f} s after it counts as lost; of each ", end="")
    print(f"{1000 * costs.workers / len(there):.1f} ms of the workers' CPU: {_said(costs)}", flush=True)


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
