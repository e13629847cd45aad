"""What `/metrics` shows of a whole system: rounds, decisions, what is ready, requests, targets; and names of nobody."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.sandbox.wire.faults import Fault
from shared.process.metrics import render
from tests.support import worlds
from tests.support.together import Together, together, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240), pytest.mark.xdist_group("e2e")]

WORKERS = ("controller", "discovery", "policy", "scheduler", "decision", "binding", "status")
NAMED = {"moorage_workspace_longest_wait_seconds"}
"""Metrics that name workspaces, a bounded number of them."""


class Shown:
    """What all workers of a system show, as one page."""

    def __init__(self, system: Together) -> None:
        readings = [each for running in system.at_work for each in running.runtime.readings]
        self.text = render(readings)
        self._samples = [each for family in text_string_to_metric_families(self.text) for each in family.samples]

    def sum(self, name: str, **labels: str) -> float:
        """The numbers of all series with these labels, added up."""
        wanted = labels.items()
        return sum(each.value for each in self._samples if each.name == name and wanted <= each.labels.items())

    def labels(self, name: str, label: str) -> set[str]:
        """The values that a label has."""
        return {each.labels[label] for each in self._samples if each.name == name}

    def lines(self, besides: set[str]) -> str:
        """The text, without some metrics."""
        return "\n".join(line for line in self.text.splitlines() if not any(each in line for each in besides))


def grown(after: Shown, before: Shown, name: str, labels: Mapping[str, str]) -> float:
    return after.sum(name, **labels) - before.sum(name, **labels)


async def test_metrics_tell_what_was_placed_refused_and_tried_again_and_name_nobody(tmp_path: Path) -> None:
    async with together(tmp_path, worlds.world(3)) as system:
        before = Shown(system)
        stumble = Fault(kind="503", cluster="target:*", verb="patch", resource="deployments.apps", times=1, seconds=0.1)
        system.sandbox.faults.add(stumble)
        await system.place("secretweb", worlds.deployment("secretweb"), targets={"names": ["cluster-000"], "all": True})
        await system.reaches("secretweb", "Ready")
        await system.place("huge", worlds.deployment("huge", cpu="5000"))
        await system.reaches("huge", "Unschedulable")
        await until(lambda: Shown(system).sum("moorage_placements_waiting") >= 1, "the refused one waits")
        after = Shown(system)

    def more(name: str, **labels: str) -> float:
        return grown(after, before, name, labels)

    assert more("moorage_rounds_total", cause="Created") == 2
    assert more("moorage_decisions_total", outcome="placed") == 1
    assert more("moorage_decisions_total", outcome="refused", reason="NoFeasibleTarget") >= 1
    assert more("moorage_placement_ready_seconds_count") == 1
    assert 0 < more("moorage_placement_ready_seconds_sum") < 60
    assert more("moorage_placement_decide_seconds_count", outcome="placed") == 1
    assert more("moorage_retries_total", consumer="binding-assigned", reason="waits") >= 1
    assert more("messaging_client_sent_messages_total", stage="assigned") == 1
    assert after.labels("messaging_process_duration_seconds_count", "consumer") >= {
        "discovery-requested", "policy-discovered", "scheduler-evaluated", "decision-scheduled", "binding-assigned",
        "status-bound",
    }  # fmt: skip
    assert after.sum("moorage_targets", state="ready") == 3
    assert after.sum("moorage_bindings", phase="Ready") + after.sum("moorage_bindings", phase="Applied") == 1
    assert after.sum("moorage_reservations_outdated") == 0
    assert 0 < after.sum("moorage_targets_reserved_ratio", resource="cpu") < 1
    assert more("moorage_kubernetes_request_duration_seconds_count", server="target", outcome="5xx") == 1
    assert more("moorage_kubernetes_request_duration_seconds_count", server="hub", verb="PATCH", outcome="2xx") >= 2
    assert after.sum("moorage_kubernetes_watches", server="hub") > 0
    assert "decision-scheduled" in after.labels("moorage_consumer_pending", "consumer")
    for name in ("secretweb", "huge", worlds.USER, worlds.TEAM, "cluster-000"):
        assert name not in after.lines(NAMED)
