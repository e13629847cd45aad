"""`moorage trace`: spans as a waterfall, from what Jaeger's API answers over HTTP."""

import http.server
import json
import re
import threading
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.main import main
from services.cli.tracing.waterfall import FoundSpan, bar, duration, rows

ID = "4bf92f3577b34da6a3ce929d0e0e4736"


def span(id: str, parent: str = "", start: float = 0.0, **more: Any) -> FoundSpan:
    known: dict[str, Any] = {"seconds": 1.0, "error": False, "attributes": {}, "service": "w", "operation": id}
    return FoundSpan(id=id, parent=parent, start=start, **{**known, **more})


def test_each_span_stands_below_what_it_came_of_in_the_order_in_which_they_began() -> None:
    found = rows(
        [span("late", "root", 3.0), span("root", start=1.0), span("early", "root", 2.0), span("leaf", "early", 4.0)]
    )
    assert [(each.span.id, each.depth, each.after) for each in found] == [
        ("root", 0, 0.0),
        ("early", 1, 1.0),
        ("leaf", 2, 3.0),
        ("late", 1, 2.0),
    ]


spans = st.lists(st.builds(span, st.sampled_from("abcdef"), st.sampled_from(["", *"abcdef", "gone"]), st.floats(0, 9)))


@given(spans)
def test_every_span_is_shown_once_whatever_is_missing_or_its_own_ancestor(given: list[FoundSpan]) -> None:
    assert sorted(each.span.id for each in rows(given)) == sorted({each.id for each in given})


@given(st.floats(0, 10), st.floats(0, 10), st.floats(0, 20), st.integers(1, 40))
def test_a_bar_is_as_wide_as_it_may_be_and_never_empty(after: float, seconds: float, whole: float, width: int) -> None:
    found = bar(after, seconds, whole, width)
    assert len(found) == width
    assert "█" in found


def test_a_span_says_what_came_of_it_and_how_long_its_message_waited() -> None:
    said = {"moorage.outcome": "ok", "moorage.decision": "placed", "moorage.queue.seconds": "0.25"}
    (found,) = rows([span("a", attributes=said)])
    assert found.notes == "placed, waited 250.0 ms"


@pytest.mark.parametrize(("seconds", "said"), [(0.00034, "340 µs"), (0.0125, "12.5 ms"), (3.2, "3.20 s")])
def test_durations_are_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said


TRACE = {
    "processes": {"p1": {"serviceName": "moorage-controller"}, "p2": {"serviceName": "moorage-scheduler"}},
    "spans": [
        {"traceID": ID, "spanID": "2", "processID": "p2", "operationName": "process evaluated", "startTime": 2_000,
         "duration": 500, "references": [{"refType": "CHILD_OF", "traceID": ID, "spanID": "1"}],
         "tags": [{"key": "moorage.decision", "value": "refused\x1b[2J"}, {"key": "error", "value": True}]},
        {"traceID": ID, "spanID": "1", "processID": "p1", "operationName": "reconcile placement", "startTime": 1_000,
         "duration": 4_000, "references": [{"refType": "FOLLOWS_FROM", "traceID": "other", "spanID": "9"}]},
    ],
}  # fmt: skip


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        known = {f"/api/traces/{ID}": (200, {"data": [TRACE]}), "/api/traces/odd": (200, {"data": [{"spans": 1}]})}
        status, body = known.get(self.path, (404, {}))
        content = b"<html>" if self.path.endswith("html") else json.dumps(body).encode()
        self.send_response(200 if content == b"<html>" else status)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def jaeger() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def run(capsys: Any, *argv: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(("trace", *argv))
    out, err = capsys.readouterr()
    return int(str(ended.value.code)), out, err


def test_a_trace_is_a_waterfall(capsys: Any, jaeger: str) -> None:
    code, out, _ = run(capsys, "--trace", ID, "--jaeger", jaeger)
    assert code == 0
    title, header, root, below = (line.rstrip() for line in out.splitlines())
    assert title == f"trace {ID}: 2 spans, 4.0 ms"
    assert header.split() == ["WORKER", "STEP", "AFTER", "TOOK"]
    assert "reconcile placement" in root
    assert "  process evaluated  refused" in below
    assert "\x1b" not in out


def test_it_is_a_picture_that_fetches_nothing_from_elsewhere(capsys: Any, jaeger: str) -> None:
    code, out, _ = run(capsys, "--trace", ID, "--jaeger", jaeger, "-o", "svg")
    assert code == 0
    said = " ".join(each for each in ElementTree.fromstring(out).itertext()).replace("\xa0", " ")
    assert "reconcile placement" in said
    assert "█" in said
    assert re.findall(r"url\((?!#)", out) == []


def test_it_is_json_for_programs(capsys: Any, jaeger: str) -> None:
    _, out, _ = run(capsys, "--trace", ID, "--jaeger", jaeger, "-o", "json")
    found = json.loads(out)
    assert [(each["depth"], each["span"]["service"]) for each in found["spans"]] == [
        (0, "moorage-controller"),
        (1, "moorage-scheduler"),
    ]
    assert [each["span"]["error"] for each in found["spans"]] == [False, True]


@pytest.mark.parametrize(
    ("trace", "said"),
    [("unknown", "does not know the trace unknown"), ("html", "no JSON came"), ("odd", "the answer cannot be read")],
)
def test_what_cannot_be_shown_is_one_line(capsys: Any, jaeger: str, trace: str, said: str) -> None:
    code, out, err = run(capsys, "--trace", trace, "--jaeger", jaeger)
    assert (code, out) == (1, "")
    assert said in err
    assert err.count("\n") == 1


def test_a_jaeger_that_is_not_there_is_one_line(capsys: Any) -> None:
    code, _, err = run(capsys, "--trace", ID, "--jaeger", "http://127.0.0.1:1")
    assert code == 1
    assert "Jaeger does not answer at http://127.0.0.1:1" in err


@pytest.mark.parametrize("argv", [(), ("web", "--trace", ID), ("--trace", ID, "--jaeger", "file:///etc/passwd")])
def test_what_cannot_be_asked_is_exit_code_2(capsys: Any, argv: tuple[str, ...]) -> None:
    assert run(capsys, *argv)[0] == 2
