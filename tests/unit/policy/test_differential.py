"""Every method answers as the engine does: a random comparison, and a case for each way through the columns."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .differential import compare

ROOT = Path(__file__).parents[3]
WHOLE = 630
CUT = 60


@pytest.mark.timeout(300)
@pytest.mark.parametrize("examples", [CUT, pytest.param(WHOLE, marks=pytest.mark.long)])
def test_every_method_answers_as_the_engine_on_random_rules(examples: int, record_property: Any) -> None:
    untraced = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.unit.policy.differential", str(examples)],
        cwd=ROOT, env=untraced, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-4000:]
    seen = json.loads(ran.stdout)
    for what, count in seen.items():
        record_property(what, count)
    assert seen["rows"] >= 80 * examples
    assert seen["rows by columns"] >= seen["rows"] // 5


IN_COLUMNS = (
    # logic
    "target.ready && !target.unschedulable",
    "target.labels.zone == 'eu' && target.ready",
    "target.labels.zone == 'eu' || target.ready",
    "placement.labels.nope == 'x' && target.ready",
    "target.ready == target.unschedulable",
    "target.ready != true",
    "target.ready ? target.unschedulable : target.labels.zone == 'eu'",
    "(target.ready ? target.nodes : 3) > 2",
    "target.nodes",
    # numbers
    "(size(target.name) - 4) / 2 > 0",
    "(size(target.name) - 4) % 3 == -1",
    "-size(target.name) < -1",
    "size(target.name) + size(target.workspace) >= 4",
    "size(target.name) * 2 <= 6",
    "target.nodes in [1, 3]",
    "double(target.nodes) / 2.0 > 0.5",
    "-target.capacity['cpu'] < 0.0",
    "target.capacity['cpu'] * 2.0 - 1.0 > target.allocatable['cpu']",
    "target.capacity['cpu'] in [0.5, 8.0]",
    "capacity(target, 'cpu') > 1.0",
    "target.available('cpu') > 1.0",
    "utilization(target, 'cpu') < 0.7",
    "latency(target, 'eu') < 50.0",
    "quantity(target.labels.number) > 1.0",
    "int(target.labels.number) > 0",
    # strings
    "target.name == 'eu'",
    "'eu' != target.name",
    "target.name == target.workspace",
    "target.name != target.labels.region",
    "target.labels.region < 'f'",
    "target.labels.region.startsWith('e')",
    "target.labels.region.matches('^e[a-z]$')",
    "target.labels.region in ['eu', 'us']",
    "target.labels.region in request.groups",
    "size(target.labels.region) == 2",
    "size(target.labels.region) % 2 == 1",
    "dyn(target.name) == 3",
    "inWorkspace(target.workspace, 'root:a')",
    "target.hasLabel('region', 'eu')",
    "has(target.labels.region)",
    "has(target.cost.perCpuHour) && target.cost.perCpuHour < 0.01",
    "'region' in target.labels",
    "dyn(target.nodes) == 3",
    "target.name + 'x' == 'eux'",
    "target.capacity['cpu'] / target.capacity['memory'] > 1.0",
    "target.name.lowerAscii().startsWith('eu')",
    "has(target.cost.perCpuHour)",
    "semver(target.kubernetesVersion, true).isGreaterThan(semver('1.9.0'))",
    "!isSemver(target.kubernetesVersion) || semver(target.kubernetesVersion).compareTo(semver('1.34.0')) >= 0",
    "target.capacity.cpu.isGreaterThan(quantity('2'))",
    "cidr('10.0.0.0/8').containsIP(target.labels.region)",
    "target.labels.region.find('[a-z]+') == 'eu'",
    # nothing of the target
    "workspace == 'root:a' && target.ready",
    "workload[0].replicas == 2 && target.ready",
    "(3 in [1, 3]) && target.ready",
)

NOT_IN_COLUMNS = (
    "target.taints.exists(t, t.effect == 'NoExecute')",
    "request.groups.exists(g, g == 'eu') && target.ready",
    "size(target.taints) > 1",
    "size(target) > 0",
    "[target.nodes] == [3]",
    "{'n': target.nodes} == {'n': 3}",
    "target.labels[target.name] == 'eu'",
    "hasLabel(target, target.name)",
    "target.name && target.ready",
    "(target.ready ? target.name : 'eu') == 'eu'",
    "(target.name ? 1 : 2) == 1",
    "target.name in target.labels",
    "target.name in target.taints",
    "placement.labels.nope in target.labels",
    "target.name in [target.workspace]",
    "target.name in target.apis.map(a, a.kind)",
    "target.name in placement.labels.nope",
    "target.name in workspace",
    "target.name in [1, 'eu']",
    "target.ready in [true, false]",
    "target.nodes + target.capacity['cpu'] > 1.0",
    "target.name + target.workspace == 'nroot'",
    "target.name < target.workspace",
    "target.labels.region.matches(placement.labels.nope)",
    "target.name.replace('e', 'x') == 'xu'",
    "uint(target.nodes) > 3u",
    "target.?cost.?perCpuHour.orValue(0.0) < 1.0",
    "string(target.nodes) == '3'",
    "target.ready < true",
    "target.ready || target.nope",
    "target.nodes % 2 == 1",
    "-target.nodes < -1",
    "capacity(target, placement.labels.nope) > 1.0",
    "int(target.workspace) > 0",  # an error for each of them, so of no kind
    "target.hasLabel('a', 'b', 'c')",
    "size(target.name) / (size(target.name) - 2) > 1",
    "target.nodes * 9007199254740993 > 5",
    "target.capacity['cpu'] % 2.0 == 1.0",
    "(target.ready - true) == 1",
    "!target.nodes",
    "uint(target.nodes) == uint(3)",
    "bytes(target.name) == b'eu'",
    "now < timestamp('2030-01-01T00:00:00Z') ? target.ready : target.name",
)


@pytest.mark.parametrize("expression", IN_COLUMNS)
def test_columns_answer_as_the_engine(expression: str) -> None:
    compared = compare(expression)
    assert compared is not None
    assert compared[1] == "columns"


@pytest.mark.parametrize("expression", NOT_IN_COLUMNS)
def test_what_columns_cannot_tell_is_left_to_the_engine(expression: str) -> None:
    compared = compare(expression)
    assert compared is not None
    assert compared[1] != "columns"
