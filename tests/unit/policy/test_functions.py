"""Each function by its table of cases, in its documented example, and its shortcut over the inventory's objects."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.policy.cel import standard
from services.policy.cel.calls import answers
from services.policy.cel.program import compile_rule
from services.policy.functions import FUNCTIONS, FunctionError
from services.policy.language.variables import TARGET as FIELDS
from services.policy.language.variables import read_request, read_target
from services.policy.preview import example_request, example_target
from shared.model.target import ApiKind, Target

from .expressions import LABELS, NOW, RESOURCES, WORDS, targets

TARGET = Target(
    workspace="root:platform:eu",
    name="one",
    labels={"region": "eu", "empty": ""},
    capacity={"cpu": 8.0},
    allocatable={"cpu": 6.0, "memory": 0.0},
    allocated={"cpu": 1.5, "disk": 3.0},
    usage={"memory": 5.0},
    apis=(ApiKind(group="apps", resource="deployments", kind="Deployment", versions=("v1", "v1beta1")),),
    latency={"hub": 12.0},
)
WORKLOAD = [{"requests": {"cpu": 0.5}, "replicas": 4}, {"requests": {"cpu": 1.0, "memory": 2.0}}]


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("hasLabel", ("region",), True),
        ("hasLabel", ("zone",), False),
        ("hasLabel", ("region", "eu"), True),
        ("hasLabel", ("region", "us"), False),
        ("hasLabel", ("empty", ""), True),
        ("hasLabel", ("zone", ""), False),
        ("capacity", ("cpu",), 8.0),
        ("capacity", ("gpu",), 0.0),
        ("allocatable", ("cpu",), 6.0),
        ("available", ("cpu",), 4.5),
        ("available", ("disk",), 0.0),
        ("utilization", ("cpu",), 0.25),
        ("utilization", ("memory",), FunctionError),
        ("inWorkspace", ("root",), True),
        ("inWorkspace", ("root:platform",), True),
        ("inWorkspace", ("root:platform!",), False),
        ("inWorkspace", ("root:platform:eu!",), True),
        ("inWorkspace", ("root:plat",), False),
        ("latency", ("hub",), 12.0),
        ("latency", ("mars",), FunctionError),
        ("serves", ("apps/v1", "Deployment"), True),
        ("serves", ("apps/v2", "Deployment"), False),
        ("serves", ("v1", "Deployment"), False),
    ],
)
def test_of_a_target(name: str, arguments: tuple[str, ...], expected: Any) -> None:
    function = FUNCTIONS[name]
    if expected is FunctionError:
        with pytest.raises(FunctionError):
            function.call(read_target(TARGET, NOW), *arguments)
    else:
        assert function.call(read_target(TARGET, NOW), *arguments) == expected


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("requested", (WORKLOAD, "cpu"), 3.0),
        ("requested", (WORKLOAD, "gpu"), 0.0),
        ("inWorkspace", ("root:a:b", "root:a"), True),
        ("distance", ("root:a", "root:a"), 0),
        ("distance", ("root:a:b", "root:a:c"), 2),
        ("distance", ("root:a:b", "root"), 2),
        ("distance", ("", "root"), 1),
        ("quantity", ("500m",), 0.5),
        ("quantity", ("100m",), 0.1),
        ("quantity", ("0.1m",), 0.0001),
        ("quantity", ("1e3",), 1000.0),
        ("quantity", ("9Ei",), 9 * 2.0**60),
        ("quantity", ("4Gi",), 4294967296.0),
        ("quantity", ("1k",), 1000.0),
        ("quantity", (".5",), 0.5),
        ("quantity", ("-2",), -2.0),
        ("quantity", ("250u",), 0.00025),
    ],
)
def test_of_values(name: str, arguments: tuple[Any, ...], expected: Any) -> None:
    assert FUNCTIONS[name].call(*arguments) == expected


@pytest.mark.parametrize("text", ["", "1.5x", "Gi", "1e", "1_000", "0x10", "１", "1" * 65, " 1", "nan", "1e9999"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(FunctionError):
        FUNCTIONS["quantity"].call(text)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_documented_example_compiles_and_gives_an_answer(name: str) -> None:
    program = compile_rule(FUNCTIONS[name].example, result="dyn")
    context = read_request(example_request(), NOW)
    target = read_target(example_target(), NOW)
    variables = {**context, "target": target}
    found, failed = answers(program.calls, variables)
    _, message = standard.evaluate(program.compiled, {**variables, **found}, failed)
    missing = ("no such key: 'disk'", "no such key: 'min-version'", "no such key: 'gateway'", "no such key: 'net'")
    assert message in ("", "no allocatable cpu", "no latency from eu-west-1", "not a semantic version", *missing)


@given(targets, st.sampled_from((*RESOURCES, *LABELS)), st.sampled_from(WORDS))
def test_shortcuts_answer_the_same(target: Target, key: str, value: str) -> None:
    arguments = {"hasLabel": (key, value), "serves": ("apps/v1", "Deployment")}
    view = read_target(target, NOW)
    for name, function in FUNCTIONS.items():
        if function.shortcut is not None:
            given_ = arguments.get(name, (key,))
            expected, found = answered(function.call, view, *given_), function.shortcut(*given_)(target)
            assert expected == found or (expected != expected and found != found), name


def answered(function: Callable[..., Any], *arguments: Any) -> Any:
    """The answer, None where there is none."""
    try:
        return function(*arguments)
    except FunctionError:
        return None


@given(targets, st.sampled_from((*RESOURCES, *LABELS, "perCpuHour", "perGiBHour")))
def test_one_entry_of_a_field_is_what_all_of_it_says(target: Target, key: str) -> None:
    for name, field in FIELDS.items():
        if field.entry is not None:
            whole = field.read(target, NOW) or {}
            assert repr(field.entry(key)(target)) == repr(whole.get(key)), name
