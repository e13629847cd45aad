"""Spans in files: what `moorage trace` reads where no collector is there."""

from pathlib import Path

import pytest

from services.cli.support.errors import CommandError
from services.cli.tracing.kept import spans
from services.cli.tracing.waterfall import rows
from shared.process import keeping
from shared.process.tracing import Telemetry, trace_id

UNSAMPLED = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-00"}


def test_a_trace_over_several_workers_is_read_back_as_a_tree(tmp_path: Path) -> None:
    controller, decision = (Telemetry(name, {}, str(tmp_path)) for name in ("controller", "decision"))
    with controller.span("reconcile placement", headers={}, about="p", kind="internal") as root:
        pass
    with decision.span("process scheduled", headers=root.headers, about="p", kind="consumer") as step:
        step.tell({"moorage.decision": "placed", "moorage.targets.names": ("a", "b"), "moorage.delivery": 2})
    with decision.span("park message", headers=step.headers, about="p", kind="producer") as parked:
        parked.fail(ValueError("no"), unexpected=False)
    for each in (controller, decision):
        each.close()
    found = rows(spans(tmp_path, trace_id(root.headers["traceparent"])))
    assert [(each.depth, each.span.service, each.span.operation, each.span.error) for each in found] == [
        (0, "moorage-controller", "reconcile placement", False),
        (1, "moorage-decision", "process scheduled", False),
        (2, "moorage-decision", "park message", True),
    ]
    assert found[2].span.attributes == {"error.type": "ValueError", "otel.status_description": "no"}
    said = found[1].span.attributes
    assert said == {"moorage.decision": "placed", "moorage.targets.names": '["a","b"]', "moorage.delivery": "2"}


def test_what_its_sender_did_not_record_is_not_kept_and_goes_on_so(tmp_path: Path) -> None:
    telemetry = Telemetry("policy", {}, str(tmp_path))
    with telemetry.span("process discovered", headers=UNSAMPLED, about="p", kind="consumer") as step:
        assert step.headers["traceparent"].startswith(f"00-{'a' * 32}-")
        assert step.headers["traceparent"].endswith("-00")
    telemetry.close()
    with pytest.raises(CommandError, match="no span is kept"):
        spans(tmp_path, "a" * 32)


def test_a_process_keeps_two_files_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "FULL", 2_000)
    telemetry = Telemetry("policy", {}, str(tmp_path))
    traces = []
    for _ in range(100):
        with telemetry.span("process discovered", headers={}, about="p", kind="consumer") as step:
            traces.append(trace_id(step.headers["traceparent"]))
    telemetry.close()
    files = list(tmp_path.glob("*.jsonl"))
    assert len(files) == 2
    assert sum(each.stat().st_size for each in files) < 5_000
    assert spans(tmp_path, traces[-1])
    with pytest.raises(CommandError, match="not any more"):
        spans(tmp_path, traces[0])


def test_a_span_that_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "there"):
        telemetry = Telemetry("policy", {}, str(folder))
        with telemetry.span("process discovered", headers={}, about="p", kind="consumer") as step:
            telemetry.close()  # its file is closed before the span ends
        assert step.headers["traceparent"]


def test_the_last_line_of_a_file_may_be_half_written(tmp_path: Path) -> None:
    telemetry = Telemetry("policy", {}, str(tmp_path))
    with telemetry.span("process discovered", headers={}, about="p", kind="consumer") as step:
        pass
    telemetry.close()
    (file,) = tmp_path.iterdir()
    trace = trace_id(step.headers["traceparent"])
    file.write_text(file.read_text() + f'{{"trace":"{trace}","id":')
    assert len(spans(tmp_path, trace)) == 1


def test_what_is_kept_is_for_nobody_else_and_goes_into_no_file_that_a_link_names(tmp_path: Path) -> None:
    folder = tmp_path / "spans"
    Telemetry("policy", {}, str(folder)).close()
    (file,) = folder.iterdir()
    assert (folder.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    elsewhere = tmp_path / "elsewhere"
    file.unlink()
    file.symlink_to(elsewhere)
    Telemetry("policy", {}, str(folder)).close()
    assert not elsewhere.exists()
