"""What `moorage schedule` reads: what servers and editors write, and a line with its place for what cannot be used."""

from itertools import pairwise
from pathlib import Path

import pytest

from services.cli.support.errors import UsageError
from tests.unit.cli.conftest import Run
from tests.unit.cli.scheduling import DEPLOYMENT, HEAD, TARGETS, command, placement

RUNNING = f"{HEAD}kind: PlacementDecision\nmetadata: {{name: web}}\nstatus: {{selected: [{{}}]}}\n"
BOMB = "a: &a [x]\n" + "".join(f"{n}: &{n} [{', '.join([f'*{o}'] * 9)}]\n" for o, n in pairwise("abcdefghi"))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"placement": "{"}, "placement.yaml: while parsing"),
        (
            {"targets": '{"kind": "X", "metadata": {"name": "x", "labels": {"x": "\\ud83d"}}}'},
            "invalid Unicode character",
        ),
        ({"targets": '{"a": ' * 100_000}, "targets.yaml: is nested too deeply"),
        ({"placement": "a: b"}, "placement.yaml: is no Kubernetes object, since it has no kind"),
        ({"placement": f"{DEPLOYMENT}---\nkind: X"}, "placement.yaml: document 2: X: metadata.name must be given"),
        ({"placement": DEPLOYMENT}, "placement.yaml: there is no Placement in it"),
        ({"policy": ""}, "policy.yaml: there is no PlacementPolicy in it"),
        ({"placement": "[" * 100_000}, "placement.yaml: is nested too deeply"),
        ({"placement": "a: &a [*a]"}, "placement.yaml: alias a stands for what it is part of"),
        ({"placement": BOMB}, "is nested too deeply, or too large with its aliases"),
        *(
            ({"placement": f"kind: Placement\nmetadata: {{name: {number}}}"}, "line 2: a number of more than 1000 bits")
            for number in ("0x" + "f" * 10_000, "0b" + "1" * 10_000, "0" + "7" * 10_000, "1" + ":59" * 1_000)
        ),
        ({"placement": DEPLOYMENT.replace("6", "-6")}, "Deployment web: spec.replicas: '-6' is no number of replicas"),
        ({"placement": DEPLOYMENT.replace("{app: web}", "{app: 1}", 1)}, "metadata.labels must map text to text"),
        ({"targets": TARGETS.replace("1e3", "1e3Ki")}, "targets.yaml: document 1: SyncTarget eu-1: SyncTarget: Expec"),
        ({"targets": TARGETS.replace("eu-2", "eu-1")}, "SyncTarget eu-1 is there twice: it is also .*document 1"),
        ({"targets": TARGETS.replace("{name: down}", "{}")}, "document 3, item 2: SyncTarget: metadata.name must be"),
        (
            {"placement": DEPLOYMENT.replace("{app: web}", "{on: x}", 1)},
            "text to text: put quotes around what is read as T",
        ),
        (
            {"placement": DEPLOYMENT.replace("name: web", "name: 12", 1)},
            "metadata.name must be text: put quotes around wh",
        ),
        ({"placement": DEPLOYMENT.replace("name: web", "name: a/b", 1)}, "metadata.name 'a/b' holds what"),
        ({"placement": DEPLOYMENT.replace("shop", '"a\\nb"', 1)}, "metadata.namespace 'a.*nb' holds what no name can"),
        ({"previous": RUNNING}, "previous.yaml: PlacementDecision web: PlacementDecision: Object missing"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line_with_its_place(tmp_path: Path, texts, message) -> None:
    with pytest.raises(UsageError, match=message):
        command(tmp_path, **{"placement": placement(), **texts})


def test_fields_that_nobody_knows_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"placement.yaml: Placement web: unknown field spec\.targts$"):
        command(tmp_path, placement=placement(spec="targts: {}"))


def test_kinds_of_the_same_name_in_other_groups_are_not_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = "apiVersion: workload.kcp.io/v1alpha1\nkind: SyncTarget\nmetadata: {name: eu-2}\n"
    service = "kind: Service\nmetadata: {name: web, namespace: shop}\n"
    services = f"---\napiVersion: v1\n{service}---\napiVersion: serving.knative.dev/v1\n{service}"
    assert command(tmp_path, targets=f"{TARGETS}\n---\n{others}", placement=placement() + services) == 0
    assert capsys.readouterr().err.endswith("SyncTarget eu-2: is of workload.kcp.io/v1alpha1, and ignored\n")


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ([f"{HEAD}kind: SyncTargetList\nitems: [{{metadata: {{name: a}}}}]"], ["a"]),  # as an API server answers
        (["apiVersion: v1\nkind: List\nitems:\n"], []),
        ([f"{HEAD}kind: SyncTarget\nmetadata: {{name: a, labels: null}}\nspec:\nstatus:\n"], ["a"]),
        (
            ['{"kind": "SyncTarget",\n\t"metadata": {"name": "a"}}\n{"kind": "SyncTarget", "metadata": {"name": "b"}}'],
            ["a", "b"],
        ),
        (['{"kind": "SyncTarget", "metadata": {"name": "a", "labels": {"x": "\\ud83d\\ude00"}}}'], ["a"]),
        ([f"\ufeff{HEAD}kind: SyncTarget\r\nmetadata: {{name: {name}}}\r\n" for name in "ab"], ["a", "b"]),
    ],
)
def test_what_servers_and_editors_write_is_read(decided: Run, texts, found) -> None:
    idle = placement(spec="targets: {all: true}") + "---" + DEPLOYMENT.replace("replicas: 6", "replicas: 0")
    _, (answer,) = decided(placement=idle, targets="---\n".join(texts))
    assert [each["target"] for each in answer["scores"]] == found


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml: No such file or directory"):
        command(tmp_path, "--policy", str(tmp_path / "none.yaml"), placement=placement())


def test_times_without_quotes_are_text(decided: Run) -> None:
    scored = TARGETS.replace("usage: {cpu: 0.1m}", "scores: [{name: s, value: 9, validUntil: 2999-01-01T00:00:00Z}]")
    code, (answer,) = decided(targets=scored, placement=placement(spec="strategy: {scorers: [{name: 'Custom:s'}]}"))
    assert (code, answer["scores"][-1]["score"]) == (0, 9.0)
