"""Random rules and targets for the differential test: mostly well typed, with some mixing, and awkward data."""

from collections.abc import Callable, Sequence
from functools import cache
from random import Random
from typing import Any

from hypothesis import strategies as st

from shared.api import Taint
from shared.model.target import ApiKind, CustomScore, Target

NOW = 1_800_000_000.0
NAN, INFINITY = float("nan"), float("inf")

LABELS = ("region", "zone", "tier", "größe", "a.b/c", "empty", "number")
WORDS = (
    "",
    "eu",
    "us",
    "EU-1",
    "größe",
    "naïve ☃",
    "1",
    "1.5",
    "true",
    "500m",
    "a'b",
    'q"q',
    "root:a",
    "root:a:b",
    "x" * 40,
)
RESOURCES = ("cpu", "memory", "nvidia.com/gpu", "none")
AMOUNTS = (0.0, -0.0, 0.5, 1.0, 2.0, 8.0, 8.000001, 1e9, -3.0, INFINITY, -INFINITY, NAN, 1e308)

word = st.sampled_from(WORDS)


def make_target(seed: int) -> Target:
    """One target, as the inventory could hold it; the same for the same seed, whatever Hypothesis draws."""
    random = Random(seed)

    def some(keys: Sequence[str], values: Sequence[Any], most: int) -> dict[str, Any]:
        return {key: random.choice(values) for key in random.sample(keys, random.randint(0, most))}

    return Target(
        workspace=random.choice(("root", "root:a", "root:a:b", "root:ab", "")),
        name=random.choice(WORDS) or "n",
        labels=some(LABELS, WORDS, 4),
        taints=tuple(
            Taint(
                key=random.choice(WORDS) or "k",
                value=random.choice(WORDS),
                effect=random.choice(("NoSchedule", "NoExecute")),
            )
            for _ in range(random.randint(0, 3))
        ),
        unschedulable=random.choice((False, True)),
        ready=random.choice((False, True)),
        capacity=some(RESOURCES, AMOUNTS, 3),
        allocatable=some(RESOURCES, AMOUNTS, 3),
        allocated=some(RESOURCES, AMOUNTS, 3),
        usage=some(RESOURCES, AMOUNTS, 3),
        apis=random.choice(
            (
                (),
                (ApiKind(group="", resource="pods", kind="Pod", versions=("v1",)),),
                (ApiKind(group="apps", resource="deployments", kind="Deployment", versions=("v1", "v1beta1")),),
            )
        ),
        kubernetes_version=random.choice(("", "1.33", "1.36.1")),
        nodes=random.choice((0, 1, 3, 2**31, 2**62)),
        latency=some(("eu", "us"), (0.0, 12.5, 300.0), 2),
        scores={
            name: CustomScore(value=random.choice((0.0, 50.0)), valid_until=until)
            for name, until in (("old", NOW - 1), ("new", NOW + 1))
            if random.random() < 0.5
        },
        cost_per_cpu_hour=random.choice((None, 0.0, 0.05)),
    )


targets = st.integers(0, 2**32).map(make_target)


def quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def joined(*parts: Any) -> st.SearchStrategy[str]:
    return st.tuples(*(part if isinstance(part, st.SearchStrategy) else st.just(part) for part in parts)).map("".join)


def call(name: str, *arguments: Any) -> st.SearchStrategy[str]:
    """A call, as a function or as a member of its first argument."""
    given = [each if isinstance(each, st.SearchStrategy) else st.just(each) for each in arguments]
    return st.tuples(st.booleans(), *given).map(
        lambda drawn: f"{drawn[1]}.{name}({', '.join(drawn[2:])})" if drawn[0] else f"{name}({', '.join(drawn[1:])})"
    )


words = word.map(quote)
label_keys = st.sampled_from(LABELS).map(quote)
resources = st.sampled_from(RESOURCES).map(quote)
maps = st.sampled_from(("capacity", "allocatable", "available", "usage"))

comparison = st.sampled_from((" == ", " != ", " < ", " <= ", " > ", " >= "))
equality = st.sampled_from((" == ", " != "))

LEAVES = {
    "strings": (
        '""', '"eu"', '"größe"', '"500m"', "'a\\'b'",
        "target.name", "target.workspace", "target.id", "target.kubernetesVersion", "target.labels.region",
        "target.labels.zone", 'target.labels["größe"]', 'target.labels["empty"]', "workspace", "placement.name",
        "placement.labels.tier", "placement.labels.nope", "request.user", "workload[0].kind", "workload[7].kind",
        "target.nope", "variables.region",
    ),
    "integers": (
        "0", "1", "-3", "7", "2147483648", "9223372036854775807", "0x10",
        "target.nodes", "size(target.labels)", "target.taints.size()", "placement.priority",
        'distance("root:a", workspace)',
    ),
    "doubles": (
        "0.0", "1.5", "8.0", "-2.5e3", "1e308", 'target.capacity["cpu"]', 'target.usage["memory"]',
        'target.allocatable["nvidia.com/gpu"]', "target.available.cpu", 'requested("cpu")', 'quantity("500m")',
        'capacity(target, "cpu")', 'target.allocatable("memory")', 'available(target, "cpu")',
        'target.utilization("cpu")', 'latency(target, "eu")', 'target.latency("mars")',
        "target.cost.perCpuHour", "target.scores.new", "target.scores.old", "double(target.nodes)",
    ),
    "booleans": (
        "true", "false", "target.ready", "target.unschedulable", "!target.ready",
        "has(target.labels.region)", "has(target.cost)", "has(target.cost.perCpuHour)", "has(target.x.y)",
        'hasLabel(target, "zone")', 'target.hasLabel("region", "eu")', 'inWorkspace(target, "root:a")',
        'target.inWorkspace("root:a!")', 'target.inWorkspace("")', 'serves(target, "apps/v1", "Deployment")',
        'target.serves("v1", "Pod")', '"a.b/c" in target.labels', '"cpu" in target.capacity',
        "target.taints.exists(t, t.effect == 'NoExecute')", "target.labels.exists(k, k == 'tier')",
        "target.apis.filter(a, a.kind == 'Pod').size() == 1", "now > timestamp('2020-01-01T00:00:00Z')",
        "duration('1h') < duration('90m')", "type(target.nodes) == int",
    ),
}  # fmt: skip

Strategies = list[st.SearchStrategy[str]]


def string_branches(strings: Any, booleans: Any, **_: Any) -> Strategies:
    return [
        joined("target.labels[", label_keys, "]"),
        joined("(", booleans, " ? ", strings, " : ", strings, ")"),
        joined("(", strings, " + ", words, ")"),
    ]


def integer_branches(strings: Any, integers: Any, doubles: Any, **_: Any) -> Strategies:
    return [
        call("size", strings),
        call("distance", strings, strings),
        joined("(", integers, st.sampled_from((" + ", " - ", " * ", " / ", " % ")), integers, ")"),
        joined("(-", integers, ")"),
        joined("int(", st.one_of(strings, doubles), ")"),
    ]


def double_branches(strings: Any, integers: Any, doubles: Any, booleans: Any) -> Strategies:
    return [
        joined("target.", maps, "[", resources, "]"),
        call("utilization", "target", resources),
        call("quantity", strings),
        joined("(", doubles, st.sampled_from((" + ", " - ", " * ", " / ")), doubles, ")"),
        joined("(-", doubles, ")"),
        joined("(", booleans, " ? ", doubles, " : ", doubles, ")"),
        joined("double(", st.one_of(strings, integers), ")"),
    ]


def boolean_branches(strings: Any, integers: Any, doubles: Any, booleans: Any) -> Strategies:
    anything = st.one_of(strings, integers, doubles, booleans)
    logic = joined("(", booleans, st.sampled_from((" && ", " || ")), booleans, ")")
    return [
        logic,
        logic,
        joined("!(", booleans, ")"),
        joined("(", strings, comparison, strings, ")"),
        joined("(", doubles, comparison, doubles, ")"),
        joined("(", integers, comparison, integers, ")"),
        joined("(", booleans, equality, booleans, ")"),
        joined("(", anything, comparison, anything, ")"),
        joined("(", anything, " && ", anything, ")"),
        joined("(", strings, " in [", words, ", ", words, "])"),
        joined("(", integers, " in [1, 3, ", integers, "])"),
        joined("(", doubles, " in [0.0, 8.0])"),
        joined("(", anything, " in [1, 'eu', 2.0])"),
        joined("(", words, " in target.labels)"),
        joined("(", strings, " in request.groups)"),
        joined("(", booleans, " ? ", booleans, " : ", booleans, ")"),
        call("hasLabel", "target", label_keys, words),
        call("inWorkspace", strings, words),
        joined(strings, st.sampled_from((".startsWith(", ".endsWith(", ".contains(")), strings, ")"),
        joined(strings, ".matches(", st.sampled_from(('"^e"', '"[a-z]+"', '"é$"')), ")"),
        joined("target.taints.", st.sampled_from(("exists", "all", "exists_one")), "(t, t.value == ", strings, ")"),
        joined("request.groups.exists(g, g == ", strings, ")"),
    ]


BRANCHES: dict[str, Callable[..., Strategies]] = {
    "strings": string_branches,
    "integers": integer_branches,
    "doubles": double_branches,
    "booleans": boolean_branches,
}


@cache
def expressions(kind: str, depth: int) -> st.SearchStrategy[str]:
    """Expressions of a kind, nested at most that deep."""
    leaves = st.sampled_from(LEAVES[kind])
    if depth == 0:
        return leaves
    inner = {each: expressions(each, depth - 1) for each in LEAVES}
    return st.one_of(leaves, *BRANCHES[kind](**inner))


rules = expressions("booleans", 2)
