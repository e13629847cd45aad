"""Speed of the policy stage, compared with the engine alone in the same run.

    python -m tests.bench.policy --plain 200

Prints milliseconds of this process's processor time, the median of several runs.
"""

import argparse
import asyncio
import gc
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from msgspec import structs

from services.policy.cel import standard
from services.policy.cel.calls import answers
from services.policy.cel.engine import Engine, Scene
from services.policy.cel.isolation import Isolation
from services.policy.cel.program import compile_rule
from services.policy.evaluation.columns import TargetColumns
from services.policy.language.variables import read_request, read_target
from services.policy.stage import evaluate
from shared.api import PlacementPolicySpec, PlacementSpec, Rule, Taint, WorkloadSelector
from shared.model.policy import PolicyEntry
from shared.model.refs import Head, PlacementRef
from shared.model.request import Cause, Request, WorkloadObject
from shared.model.target import ApiKind, Target
from shared.pipeline.messages import Discovered
from shared.process.memory import collect_seldom

NOW = 1_800_000_000.0

RULES = (
    Rule(name="region", expression='target.labels["topology.kubernetes.io/region"] in ["eu-west", "eu-north", "us"]'),
    Rule(name="certified", expression='target.hasLabel("certified", "yes") && target.ready && !target.unschedulable'),
    Rule(name="provider", expression='has(target.labels.provider) && target.labels.provider != "onprem"'),
    Rule(name="room", expression='available(target, "cpu") >= requested("cpu") && capacity(target, "memory") > 1.0'),
    Rule(name="serves", expression='target.serves("apps/v1", "Deployment")'),
    Rule(name="tenant", expression='target.inWorkspace("root:platform") || workspace.startsWith("root:lab")'),
    Rule(name="drained", expression='target.taints.exists(t, t.key == "drain")', effect="Forbid"),
    Rule(name="calm", expression='utilization(target, "cpu") < 0.7', effect="Prefer", weight=60),
    Rule(name="near", expression='latency(target, "hub") < 40.0 && target.nodes >= 3', effect="Prefer", weight=30),
    Rule(name="dear", expression="has(target.cost) && target.cost.perCpuHour > 0.05", effect="Avoid", weight=20),
)


def targets(count: int) -> dict[str, Target]:
    """Targets as discovery writes them, with some variety."""
    regions = ("eu-west", "eu-north", "us", "asia", "brazil")
    apis = tuple(
        ApiKind(group=group, resource=f"{kind.lower()}s", kind=kind, versions=("v1",))
        for group, kinds in (("", ("Pod", "Service", "ConfigMap", "Secret")), ("apps", ("Deployment", "StatefulSet")))
        for kind in kinds
    ) + tuple(ApiKind(group=f"g{n}.example", resource="xs", kind="X", versions=("v1", "v1beta1")) for n in range(30))
    made = {}
    for n in range(count):
        target = Target(
            workspace="root:platform" if n % 9 else "root:lab",
            name=f"cluster-{n}",
            labels={
                "topology.kubernetes.io/region": regions[n % 5],
                "certified": "yes" if n % 4 else "no",
                **({"provider": ("aws", "gcp", "onprem")[n % 3]} if n % 7 else {}),
            },
            taints=tuple(Taint(key=f"t{m}", effect="NoSchedule") for m in range(n % 21)) if n % 3 == 0 else (),
            ready=n % 11 != 0,
            capacity={"cpu": 8.0 + n % 64, "memory": 32e9},
            allocatable={"cpu": 8.0 + n % 60, "memory": 30e9},
            allocated={"cpu": float(n % 16)},
            usage={"cpu": float(n % 13)} if n % 2 else {},
            apis=apis,
            nodes=n % 12,
            latency={"hub": float(n % 90)},
            cost_per_cpu_hour=0.01 * (n % 10) if n % 5 else None,
        )
        made[target.id] = target
    return made


def request() -> Request:
    return Request(
        placement=PlacementRef(workspace="root:shop", namespace="default", name="cart"),
        head=Head(uid="u", generation=1, attempt=1),
        cause=Cause(code="Created"),
        spec=PlacementSpec(workload=(WorkloadSelector(api_version="apps/v1", kind="Deployment", name="cart"),)),
        workload=(
            WorkloadObject(
                api_version="apps/v1",
                kind="Deployment",
                namespace="default",
                name="cart",
                replicas=3,
                requests={"cpu": 2.0},
            ),
        ),
    )


def median(run: Callable[[], object], times: int) -> float:
    """Milliseconds of CPU, the median of several runs."""
    taken = []
    for _ in range(times):
        begun = time.process_time()
        run()
        taken.append((time.process_time() - begun) * 1e3)
    return statistics.median(taken)


def fresh(made: dict[str, Target]) -> tuple[Engine, TargetColumns]:
    inventory = TargetColumns()
    inventory.update(made)
    return Engine(Isolation()), inventory


def figures(count: int) -> Iterator[tuple[str, float]]:
    """The whole stage, message to message: all rules on that many targets."""
    made = targets(count)
    message = Discovered(request=request(), targets=tuple(made), inventory_revision=1)
    policies = (PolicyEntry(workspace="root", name="p", spec=PlacementPolicySpec(rules=RULES)),)
    runner = asyncio.new_event_loop()

    def run(engine: Engine, inventory: TargetColumns) -> None:
        runner.run_until_complete(evaluate(message, inventory, policies, engine, NOW))

    engine, inventory = fresh(made)
    for rule in RULES:
        engine.programs.get(rule.expression)
    cold = []
    for _ in range(3):
        columns = TargetColumns()
        columns.update(made)
        programs, engine = engine.programs, Engine(Isolation())
        engine.programs = programs
        cold.append(median(lambda engine=engine, columns=columns: run(engine, columns), 1))  # type: ignore[misc]
    yield f"{count} targets x {len(RULES)} rules, cold", statistics.median(cold)
    run(engine, inventory)
    yield f"{count} targets x {len(RULES)} rules, warm", median(lambda: run(engine, inventory), 7)
    runner.close()


def per_rule(count: int) -> Iterator[tuple[str, float, str]]:
    made = targets(count)
    engine, inventory = fresh(made)
    rows = np.arange(count)
    scene = Scene(inventory, rows, read_request(request(), NOW), NOW, "root")
    runner = asyncio.new_event_loop()
    for rule in RULES:
        program = engine.programs.get(rule.expression)
        begun = time.process_time()
        result = runner.run_until_complete(engine.evaluate(program, scene))
        cold = (time.process_time() - begun) * 1e3
        warm = median(lambda program=program: runner.run_until_complete(engine.evaluate(program, scene)), 5)  # type: ignore[misc]
        yield f"{rule.name}: cold {cold:.1f}, warm", warm, f"{result.method} ({result.why})"
    runner.close()


UNCOLUMNED = 'target.taints.exists(t, t.key.startsWith("x") || t.effect == "NoExecute")'
"""A rule that no column can evaluate."""


def unlike(count: int) -> TargetColumns:
    """Targets that all differ in what that rule reads."""
    made = targets(count)
    inventory = TargetColumns()
    for name, each in made.items():
        made[name] = structs.replace(each, taints=(Taint(key=name, value="", effect="NoSchedule"),))
    inventory.update(made)
    return inventory


def uncolumned(count: int) -> float:
    """That rule on those targets, in one process."""
    engine, program = Engine(Isolation(), inline_cost=float("inf")), compile_rule(UNCOLUMNED)
    scene = Scene(unlike(count), np.arange(count), read_request(request(), NOW), NOW, "root")
    runner = asyncio.new_event_loop()
    gc.collect()  # what earlier figures left is not this one's to be looked through
    taken = median(lambda: runner.run_until_complete(engine.evaluate(program, scene)), 1)
    runner.close()
    return taken


async def isolated(count: int) -> tuple[float, float]:
    """The same as a worker does it: here, and in its child process."""
    isolation, program = Isolation(deadline=60.0), compile_rule(UNCOLUMNED)
    await isolation.warm()
    scene = Scene(unlike(count), np.arange(count), read_request(request(), NOW), NOW, "root")
    gc.collect()
    here, there = time.process_time(), in_children()
    found = await Engine(isolation).evaluate(program, scene)
    taken = (time.process_time() - here) * 1e3, (in_children() - there) * 1e3
    assert not found.error
    await isolation.close()
    return taken


def in_children() -> float:
    """Seconds of processor time that the children of this process took so far."""
    children = [pid for task in Path("/proc/self/task").glob("*/children") for pid in task.read_text().split()]
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in children) / 1e9


def plain(count: int) -> float:
    """The engine alone: every rule on every target."""
    context = read_request(request(), NOW)
    programs = [compile_rule(rule.expression) for rule in RULES]
    made = [read_target(target, NOW) for target in targets(count).values()]
    begun = time.process_time()
    for target in made:
        for program in programs:
            found, failed = answers(program.calls, {**context, "target": target})
            standard.outcome_of(program.compiled, {**context, "target": target, **found}, failed)
    return (time.process_time() - begun) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.add_argument("--plain", type=int, default=200, help="targets that the engine alone is measured on")
    given = parser.parse_args()
    collect_seldom()  # as a worker does
    found: dict[str, float] = {}
    for count in (100, 10_000):
        found |= dict(figures(count))
    found["compile one rule, type check included"] = median(lambda: [compile_rule(r.expression) for r in RULES], 9) / 10
    found["a rule that no column can evaluate, 10000 different targets"] = uncolumned(10_000)
    here, there = asyncio.run(isolated(10_000))
    found["the same with a child process, in the worker"] = here
    found["the same with a child process, in the child"] = there
    found[f"the engine alone, 10000 targets x {len(RULES)} rules (from {given.plain})"] = (
        plain(given.plain) * 10_000 / given.plain
    )
    if given.json:
        print(json.dumps(found))
        return
    for what, milliseconds in found.items():
        print(f"{milliseconds:12.2f} ms  {what}")
    for what, milliseconds, how in per_rule(10_000):
        print(f"{milliseconds:12.2f} ms  {what}  {how}")


if __name__ == "__main__":
    main()
