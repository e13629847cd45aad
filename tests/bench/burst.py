"""Placements that come all at once, over many equal targets: how many are decided and Ready a second, at what cost.

    python -m tests.bench.burst --placements 1000 --copies 1,2,4
    python -m tests.bench.burst --delay 20 --places 1 --copies 1,4 --of all
    python -m tests.bench.burst --quotas 1 --copies 1,4

For each number of copies a system of its own. Prints placements a second, processor time and requests of each,
and of the writes of reservations the share that another writer had come before; then the rates of what there is no
getting past (`tests/bench/limits.py`). Every target is met before the burst: to meet one takes more processor time
than a placement (connections, watches, namespaces), and how many a burst comes to lie in differs from run to run.

With `--delay` every API server answers so many milliseconds late, so that waiting is the limit and not the processor,
and the rates of several copies are compared with those of the first. With `--places` each copy works on so many
messages of a kind at once, instead of 32: then waiting is the limit of one copy also where answers are not very late.
With `--quotas` so many PlacementQuotas bound the workspace, each of which every decision is charged to.
"""

import argparse
import asyncio

import msgspec

from services import PIPELINE
from shared.hub.resources import QUOTAS
from shared.pipeline.buckets import CHARGES
from tests.bench.limits import Limits, limits
from tests.bench.load import Bench, Costs, bench, races
from tests.bench.machine import machine, spread
from tests.support.waiting import until

RACERS = ("scheduler", "decision")
EVERYWHERE = "everywhere"  # what meets all targets
WAITS = {"status": "Unknown"}
ORG, TEAM = "root:org", "root:org:team"


class Outcome(msgspec.Struct):
    """Of one burst: placements a second, and requests of each."""

    decided: float
    ready: float
    requests: float


class Load(msgspec.Struct, frozen=True):
    """What is asked of each system; the `delay` of its API servers is in milliseconds."""

    targets: int
    placements: int
    of: tuple[str, ...]
    delay: float
    places: int
    quotas: int = 0


async def burst(load: Load, copies: int) -> Outcome:
    """One burst on a system of its own, told as it is found."""
    scale, placements = dict.fromkeys(load.of, copies), load.placements
    names = [f"app-{number}" for number in range(placements)]
    env = {"MOORAGE_CONCURRENCY": str(load.places)}
    async with bench(load.targets, copies=scale, env=env, workspaces=(ORG, TEAM)) as system:
        await system.deployments([*names, EVERYWHERE])
        await system.place([EVERYWHERE], targets={"count": {"min": load.targets}})
        if load.delay:
            await system.ask("POST", "faults", {"kind": "latency", "seconds": load.delay / 1000})
        await bound(system, load.quotas)
        before, url = await system.costs(), system.running.place.nats
        async with races(url) as raced, races(url, CHARGES) as charged:
            times = await system.place(names)
        costs = (await system.costs()).since(before)
        requests = sum(costs.by_worker().values()) / placements
        found = Outcome(times.a_second(times.decided), times.a_second(times.ready), requests)
        print(f"copies {copies}: decided {found.decided:.1f}/s, Ready {found.ready:.1f}/s")
        print(f"  created to decided: {spread(times.milliseconds(times.decided))}")
        print(f"  {raced.tried / placements:.2f} tries to reserve each, {raced.share:.1%} of them lost to another")
        if load.quotas:
            print(
                f"  {charged.tried / placements:.2f} tries to charge each, {charged.share:.1%} of them lost to another"
            )
        _tell(costs, placements)
        if not load.delay:
            _compare(found, await limits(system.user))
    return found


async def bound(system: Bench, quotas: int) -> None:
    """Have so many quotas in force that bound the workspace, with room for everything."""
    client, named = system.admin.cluster(ORG), [f"bench-{number}" for number in range(quotas)]
    for each in named:
        spec = {"workspace": TEAM.removeprefix(f"{ORG}:"), "hard": {"cpu": "1M", "placements": "1M"}}
        made = {"apiVersion": QUOTAS.api_version, "kind": QUOTAS.kind, "metadata": {"name": each}, "spec": spec}
        await client.create(QUOTAS, made)

    async def in_force() -> bool:
        found = [(await client.get(QUOTAS, each)).get("status") or {} for each in named]
        return all(condition["status"] == "True" for each in found for condition in each.get("conditions") or [WAITS])

    await until(in_force, "the quotas are in force")


def _tell(costs: Costs, placements: int) -> None:
    each = {name: 1000 * seconds / placements for name, seconds in costs.seconds.items()}
    listed = ", ".join(f"{name} {each[name]:.1f}" for name in sorted(each, key=lambda name: -each[name]))
    print(f"  processor time of each: workers {1000 * costs.workers / placements:.1f} ms ({listed})")
    requests = costs.by_worker()
    listed = ", ".join(f"{name} {count / placements:.1f}" for name, count in requests.most_common())
    print(f"  requests of each: {sum(requests.values()) / placements:.1f} ({listed})")
    forms = [(form, count / placements) for form, count in costs.by_form().most_common() if count > placements / 4]
    print(f"  of these: {', '.join(f'{count:.1f} {form}' for form, count in forms)}", flush=True)


def _compare(found: Outcome, bounds: Limits) -> None:
    rates = {"creates": bounds.creates, "server-side applies": bounds.applies, "six empty stages": bounds.chain}
    for name, rate in rates.items():
        print(f"  {name}: {rate:,.0f}/s, {rate / found.ready:.1f} times the placements Ready", flush=True)


async def run(load: Load, copies: list[int]) -> None:
    print(f"machine: {machine()}")
    print(f"{load.placements} placements at once, {load.targets} targets, several copies of {', '.join(load.of)}")
    print(
        f"API servers {load.delay:g} ms late, {load.places or 'the usual'} places for messages of a kind in each copy"
    )
    if load.quotas:
        print(f"{load.quotas} quotas over all targets bound the workspace")
    found = [await burst(load, each) for each in copies]
    for number, outcome in list(zip(copies, found, strict=True))[1:]:
        ready, requests = outcome.ready / found[0].ready, outcome.requests / found[0].requests
        print(f"{number} copies against {copies[0]}: {ready:.2f} times as many Ready a second", end="")
        print(f", {requests:.2f} times as many requests")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=int, default=100)
    parser.add_argument("--placements", type=int, default=300)
    parser.add_argument("--copies", default="1", help="numbers of copies, separated by commas (default: 1)")
    parser.add_argument("--of", default=",".join(RACERS), help="of which workers, or `all` (default: those that race)")
    parser.add_argument("--places", type=int, default=0, help="messages of a kind that a copy works on at once")
    parser.add_argument("--delay", type=float, default=0.0, help="milliseconds by which API servers answer late")
    parser.add_argument("--quotas", type=int, default=0, help="quotas over all targets that bound the workspace")
    args = parser.parse_args()
    of = PIPELINE if args.of == "all" else tuple(args.of.split(","))
    copies = [int(each) for each in args.copies.split(",")]
    asyncio.run(run(Load(args.targets, args.placements, tuple(of), args.delay, args.places, args.quotas), copies))


if __name__ == "__main__":
    main()
