"""The child's loop, in this process: jobs in, answers out."""

import io
import signal

import msgspec
import pytest

from services.policy.cel import child
from services.policy.cel.protocol import Job


def answers(*jobs: Job) -> list[list[tuple[str, str]]]:
    frames = [msgspec.msgpack.encode(job) for job in jobs]
    source = io.BytesIO(b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames))
    sink = io.BytesIO()
    child.serve(source, sink)
    written = sink.getvalue()
    assert written[:1] == b"+"
    found, at = [], 1
    while at < len(written):
        size = int.from_bytes(written[at : at + 4], "big")
        found.append(msgspec.msgpack.decode(written[at + 4 : at + 4 + size], type=list[tuple[str, str]]))
        at += 4 + size
    return found


def test_it_answers_job_after_job_until_the_input_ends() -> None:
    job = Job("d", "target.n == limit", {}, {"limit": 2}, [{"n": 1}, {"n": 2}, {}])
    assert answers(job, job) == [[("f", ""), ("t", ""), ("e", "no such key: 'n'")]] * 2


def test_what_the_engine_does_not_take_is_an_error_on_every_target() -> None:
    ((first, second),) = answers(Job("d", "(" * 100 + "true" + ")" * 100, {}, {}, [{}, {}]))
    assert first == second == ("e", "it is nested too deep")


def test_calls_are_made_beforehand_and_fail_where_they_are_needed() -> None:
    latency = ("call", ["latency", [("path", ["target"]), ("value", "hub")]])
    targets = [{"latency": {"hub": 1.0}}, {"latency": {}}]
    for text, second in (("__call0 < 2.0", ("e", "no latency from hub")), ("__call0 < 2.0 || true", ("t", ""))):
        assert answers(Job(text, text, {"__call0": latency}, {}, targets)) == [[("t", ""), second]]


def test_compiled_expressions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "COMPILED", 2)
    assert len(answers(*(Job(str(n), "true", {}, {}, [{}]) for n in range(5)))) == 5


def test_the_alarm_is_off_between_jobs() -> None:
    answers(Job("d", "true", {}, {}, [{}], deadline=5.0))
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_answers_are_handed_over_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "FLUSH_SECONDS", -1.0)
    assert answers(Job("d", "true", {}, {}, [{}, {}])) == [[("t", "")], [("t", "")], []]
