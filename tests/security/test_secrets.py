"""Tokens, keys and what is in Secrets is in no log line, no span, no metric, no event, and no word on an object.

What is secret goes through every path that it can go: placed, applied, refused, moved, removed, given up; and the
credentials of a target through what can be wrong with them.
"""

import base64
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.sandbox.wire.faults import Fault
from shared.broker.memory.bus import MemoryBus
from shared.hub.resources import BINDINGS, DECISIONS, PLACEMENTS, SYNCTARGETS
from shared.kube.resources import SECRETS
from shared.process.logs import JsonFormatter, TextFormatter
from shared.process.metrics import render
from tests.support import otlp, worlds
from tests.support.client import if_there
from tests.support.together import Together, together, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240), pytest.mark.xdist_group("e2e")]

ADMIN, ALICE, TARGET = "adm1n-tok3n-of-the-hub", "al1ce-tok3n", "targ3t-tok3n-of-a-cluster"
PASSWORD, REFUSED, BROKEN = "pa55w0rd-of-the-shop", "pa55w0rd-that-is-refused", "tok3n-in-a-broken-kubeconfig"
KEPT = (ADMIN, ALICE, TARGET, PASSWORD, REFUSED, BROKEN)
GARBAGE = f'{{"type": "Requested", "token": "{PASSWORD}"'.encode()
"""What is no message, and is given up as it is."""
PAUSES = {"sweep_seconds": 0.2, "waiting_initial_seconds": 1.0, "waiting_max_seconds": 2.0, "write_seconds": 0.0}


class Kept(logging.Handler):
    """Every log line, of every level, in both forms."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self._forms = (JsonFormatter("test"), TextFormatter("test"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += [each.format(record) for each in self._forms]


@pytest.fixture
def written() -> Iterator[list[str]]:
    """What is logged, also what a level would leave out."""
    handler, root = Kept(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler.lines
    root.removeHandler(handler)
    root.setLevel(before)


def world() -> dict[str, Any]:
    found = worlds.world(3)
    found["admin_token"] = ADMIN
    found["users"][0]["token"] = ALICE
    for number, target in enumerate(found["targets"]):
        target["token"] = f"{TARGET}-{number}"
    return found


def hidden(secret: str) -> tuple[str, str]:
    """A secret as it is, and as a Secret has it."""
    return secret, base64.b64encode(secret.encode()).decode().rstrip("=")[:-1]


async def keep_secret(system: Together, name: str, secret: str) -> None:
    """A Secret of alice's and a Placement of it."""
    metadata = {"name": name, "namespace": worlds.NAMESPACE}
    data = {"password": base64.b64encode(secret.encode()).decode()}
    await system.user.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
    workload = [{"apiVersion": "v1", "kind": "Secret", "name": name}]
    await system.place(name, targets={"names": ["cluster-000"], "all": True}, workload=workload)


async def break_credentials(system: Together) -> None:
    """The kubeconfig of a target becomes something unusable that has a token in it."""
    target = await system.admin.cluster(worlds.PLATFORM).get(SYNCTARGETS, "cluster-002")
    ref = target["spec"]["kubeconfigSecretRef"]
    text = f"users: [{{name: a, user: {{token: {BROKEN}}}}}\nclusters: {BROKEN}"
    data = {ref.get("key", "kubeconfig"): base64.b64encode(text.encode()).decode()}
    hub = system.admin.cluster(worlds.PLATFORM)
    await hub.merge_patch(SECRETS, ref["name"], {"data": data}, ref["namespace"])


async def live(system: Together) -> list[str]:
    """What is secret goes everywhere; returns what objects said of it meanwhile, but for the Secrets themselves."""
    said: list[str] = []

    async def look() -> None:
        for resource in (PLACEMENTS, DECISIONS, BINDINGS):
            said.extend(map(json.dumps, (await system.user.list(resource, worlds.NAMESPACE)).items))
        said.extend(map(json.dumps, (await system.admin.cluster(worlds.PLATFORM).list(SYNCTARGETS)).items))

    await keep_secret(system, "shop", PASSWORD)
    await system.reaches("shop", "Ready")
    for kind in ("403", "500", "409"):
        system.sandbox.faults.add(
            Fault(kind=kind, cluster="target:*000", verb="patch", resource="secrets", times=2, seconds=0.1)
        )
    await keep_secret(system, "refused", REFUSED)
    await system.reaches("refused", "Degraded", "Ready")
    await look()
    await break_credentials(system)
    await MemoryBus(system.broker).publish("moorage.pipeline.requested.root=3Ateam.apps.shop", GARBAGE, id="garbage")
    await system.edit(PLACEMENTS, "shop", {"targets": {"names": ["cluster-001"], "all": True}})
    await system.reaches("shop", "Ready")
    await look()
    await system.user.delete(PLACEMENTS, "shop", worlds.NAMESPACE)

    async def there() -> object:
        return await if_there(system.user.get(PLACEMENTS, "shop", worlds.NAMESPACE))

    await until(there, "it is gone", holds=lambda found: found is None)
    return said


async def test_what_is_secret_is_in_no_log_trace_metric_event_or_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: list[str]
) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    async with otlp.receiver() as spans:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", spans.url)
        async with together(tmp_path, world(), pace=PAUSES, telemetry=os.environ) as system:
            said = await live(system)
            metrics = render(each for running in system.at_work for each in running.runtime.readings)
            messages = [
                each.payload.decode(errors="replace")
                for stream in system.broker.streams.values()
                for each in stream.messages.values()
                if each.payload != GARBAGE
            ]
    told = {
        "logs": "\n".join(written),
        "traces": "\n".join(map(repr, spans.spans)),
        "metrics": metrics,
        "messages": "\n".join(messages),
        "objects": "\n".join(said),
    }
    assert all(len(text) > 1000 for text in told.values()), {name: len(text) for name, text in told.items()}
    for where, text in told.items():
        for secret in KEPT:
            for form in hidden(secret):
                assert form not in text, f"{where} has {secret}"
