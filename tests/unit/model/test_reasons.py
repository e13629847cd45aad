"""Codes and stages, and the sentence that every refusal is explained with."""

import ast
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from shared.model.decision import Refusal, Rejection
from shared.model.reasons import RefusalCode, RejectionCode, Stage, last_stage, sentence

ROOT = Path(__file__).parents[3]


def rejection(message: str, count: int, stage: str = "") -> Rejection:
    return Rejection(reason="X", message=message, targets=tuple(f"t{n}" for n in range(count)), stage=stage)


@pytest.mark.parametrize(
    ("total", "rejections", "fit", "said"),
    [
        (0, [], 0, "no targets to choose from"),
        (
            120,
            [
                rejection("not authorized", 30),
                rejection("lacks apps/v1 Deployment", 80),
                rejection("insufficient cpu", 10),
            ],
            0,
            "0/120 targets: 80 lack apps/v1 Deployment, 30 not authorized, 10 insufficient cpu",
        ),
        (1, [rejection("lacks v1 Pod", 1)], 0, "0/1 targets: 1 lacks v1 Pod"),
        (4, [rejection("b", 1), rejection("a", 1), rejection("b", 1)], 1, "1/4 targets: 2 b, 1 a"),
        (2, [], 2, "2/2 targets"),
        (
            9,
            [rejection(word, 1) for word in "abcdefgh"],
            1,
            "1/9 targets: 1 a, 1 b, 1 c, 1 d, 1 e, 1 f, 2 for other reasons",
        ),
    ],
)
def test_reasons_are_counted_and_ranked(total, rejections, fit, said) -> None:
    assert sentence(total, rejections, fit) == said


@pytest.mark.parametrize(
    ("stages", "last"),
    [((), "discovery"), (("discovery",), "discovery"), (("discovery", "policy"), "policy"), (("policy", ""), "")],
)
def test_the_last_stage_that_rejected_anything_is_the_one_that_left_nothing(stages, last) -> None:
    assert last_stage([rejection("x", 1, stage) for stage in stages]) == last


def test_codes_and_stages_travel_as_words_and_unknown_ones_are_read() -> None:
    ours = Rejection(reason=RejectionCode.MISSING_API, stage=Stage.SCHEDULER, message="x", targets=("t",))
    written = {"reason": "MissingAPI", "message": "x", "targets": ["t"], "stage": "scheduler"}
    assert msgspec.json.decode(msgspec.json.encode(ours)) == written
    assert msgspec.convert(written, Rejection) == ours
    refusal = Refusal(code=RefusalCode.CONTENDED, stage=Stage.DECISION, message="x")
    assert msgspec.json.decode(msgspec.json.encode(refusal), type=Refusal) == refusal
    later = {"code": "OfALaterRelease", "message": "x", "stage": "audit"}
    assert msgspec.convert(later, Refusal) == Refusal(code="OfALaterRelease", message="x", stage="audit")


@pytest.mark.parametrize("code", [*RejectionCode, *RefusalCode])
def test_a_code_has_a_sentence_and_stages_in_order(code) -> None:
    assert code.description.endswith(".")
    assert code.stages
    assert list(code.stages) == sorted(code.stages, key=list(Stage).index)


def excluding() -> Iterator[str]:
    """The codes that the scheduler's filters are written with."""
    for path in sorted((ROOT / "services/scheduler/filters").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Exclusion":
                code = node.args[0]
                if isinstance(code, ast.Constant):
                    yield str(code.value)


def test_every_code_of_a_filter_is_listed_with_the_scheduler_as_its_stage() -> None:
    found = set(excluding())
    assert found
    assert found <= {code.value for code in RejectionCode if Stage.SCHEDULER in code.stages}


def test_the_docs_name_every_code_of_the_scheduler() -> None:
    words = (ROOT / "docs/scheduler.md").read_text()
    ours = [code for code in (*RejectionCode, *RefusalCode) if Stage.SCHEDULER in code.stages]
    assert [code.value for code in ours if code.value not in words] == []
