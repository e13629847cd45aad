"""Speed of the policy stage, compared with plain cel-python in the same run.

    python -m tests.bench.policy --plain 200

Prints milliseconds of this process's processor time, the median of several runs.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Callable, Iterator

import celpy
import numpy as np

from services.policy.cel import reference
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


def plain(count: int) -> float:
    """Plain cel-python: every rule on every target, by its own runner."""
    environment = celpy.Environment()
    context = {name: reference.to_cel(value) for name, value in read_request(request(), NOW).items()}
    programs = [
        environment.program(compile_rule(rule.expression).tree, functions=reference.functions()) for rule in RULES
    ]
    made = [reference.to_cel(read_target(target, NOW)) for target in targets(count).values()]
    begun = time.process_time()
    for target in made:
        for program in programs:
            try:
                program.evaluate({**context, "target": target})
            except celpy.CELEvalError:
                continue
    return (time.process_time() - begun) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.add_argument("--plain", type=int, default=200, help="targets that plain cel-python is measured on")
    given = parser.parse_args()
    found: dict[str, float] = {}
    for count in (100, 10_000):
        found |= dict(figures(count))
    found["compile one rule, type check included"] = median(lambda: [compile_rule(r.expression) for r in RULES], 9) / 10
    found[f"plain cel-python, 10000 targets x {len(RULES)} rules (from {given.plain})"] = (
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
