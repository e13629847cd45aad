"""What Prometheus reads of a worker, over real HTTP."""

import asyncio

from shared.process import audit, health
from shared.process.metrics import Metric, gauge
from tests.support.process import http_get


async def got(path: str, *metrics: Metric) -> tuple[int, str]:
    async with health.serve("127.0.0.1", 0, lambda: "", lambda: metrics) as port:
        assert port is not None
        return await http_get(port, path)


async def test_metrics_are_text_with_help_and_type_and_are_read_when_asked_for() -> None:
    number = 1.0
    metric = gauge("moorage_things", "Things that there are.", lambda: number)
    number = 3
    expected = "# HELP moorage_things Things that there are.\n# TYPE moorage_things gauge\nmoorage_things 3\n"
    assert await got("/metrics", metric) == (200, expected)


async def test_refusals_are_shown_by_reason_those_that_never_were_as_well() -> None:
    before = audit.refusals["NotOurs"]
    audit.refused("NotOurs", requester="eve")
    status, text = await got("/metrics", audit.METRIC)
    lines = text.splitlines()
    assert status == 200
    assert f'moorage_refusals_total{{reason="NotOurs"}} {before + 1}' in lines
    assert {line.partition('"')[2].partition('"')[0] for line in lines[2:]} == audit.REASONS
    assert "eve" not in text


async def test_the_type_says_which_format_of_prometheus_it_is() -> None:
    async with health.serve("127.0.0.1", 0, lambda: "", tuple) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert b"content-type: text/plain; version=0.0.4" in answer
    assert answer.endswith(b"content-length: 0\r\nconnection: close\r\n\r\n")


async def test_a_process_that_is_not_ready_says_why() -> None:
    async with health.serve("127.0.0.1", 0, lambda: "policy is starting", tuple) as port:
        assert port is not None
        assert await http_get(port, "/readyz") == (503, "policy is starting\n")
        assert await http_get(port, "/healthz") == (200, "ok\n")
