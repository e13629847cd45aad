"""What the log says of placements: one line a fact, within its trace, which no text makes two of."""

import json
import logging

import pytest

from shared.broker.memory.bus import MemoryBus
from shared.model.decision import Choice, Refusal
from shared.model.refs import PlacementRef
from shared.model.request import Cause
from shared.pipeline import topology
from shared.pipeline.events import derive
from shared.pipeline.lines import fields
from shared.pipeline.messages import Bound, Decided
from shared.pipeline.teller import Teller
from shared.process.logs import JsonFormatter
from shared.process.tracing import Telemetry
from tests.support.values import head

REF = PlacementRef(workspace="root:a", namespace="n", name="p")
TRACE = "0af7651916cd43dd8448eb211c80319c"
HEADERS = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-00"}


def decided(**values: object) -> Decided:
    return Decided(**{"placement": REF, "head": head(2), "cause": Cause(code="TargetLost"), **values})  # type: ignore[arg-type]


async def test_a_fact_is_one_line_in_its_trace_however_often_it_is_told(caplog: pytest.LogCaptureFixture) -> None:
    bus = MemoryBus()
    await bus.provision(topology.streams(), ())
    teller, message = Teller(bus), decided(selected=(Choice(target="root:p/b", score=1.0),), previous=("root:p/a",))
    with (
        caplog.at_level(logging.INFO, "moorage.facts"),
        Telemetry("decision", {}).span("x", headers=HEADERS, about=str(REF), kind="consumer"),
    ):
        for event in (*derive(message), *derive(message)):
            await teller.tell(event, HEADERS)
        lines = [json.loads(JsonFormatter("decision").format(record)) for record in caplog.records]
    assert [line["message"] for line in lines] == ["placement decided", "placement moved"]
    assert {line["trace"] for line in lines} == {TRACE}
    assert {line["placement"] for line in lines} == {REF.id}
    assert lines[0]["targets"] == ["root:p/b"]
    assert (lines[1]["from"], lines[1]["to"], lines[1]["cause"]) == (["root:p/a"], ["root:p/b"], "TargetLost")


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            decided(refusal=Refusal(code="NoFeasibleTarget", message="3 insufficient cpu", stage="scheduler")),
            {"code": "NoFeasibleTarget", "why": "3 insufficient cpu", "stage": "scheduler"},
        ),
        (
            Bound(placement=REF, head=head(2), target="root:p/a", phase="Failed", reason="No", message="no\nright"),
            {"target": "root:p/a", "reason": "No", "why": "no\ufffdright"},
        ),
    ],
)  # fmt: skip
def test_a_line_says_why_and_of_which_target(message: Decided | Bound, said: dict[str, str]) -> None:
    (event,) = derive(message)
    found = fields(event.data)
    assert said.items() <= found.items()
    assert (found["placement"], found["attempt"]) == (REF.id, 2)
    assert "requester" not in found
    assert not [each for each in found.values() if isinstance(each, str) and "\n" in each]


def test_of_many_targets_a_line_names_ten() -> None:
    chosen = tuple(Choice(target=f"root:p/t{number}", score=1.0) for number in range(50))
    (event,) = derive(decided(selected=chosen))
    found = fields(event.data)
    assert len(found["targets"]) == 10
    assert found["selected"] == 50
