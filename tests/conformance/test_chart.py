"""The chart by a real Helm: as it is rendered, and installed on a real API server that restricts pods."""

import json
import os
import re
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from services import PIPELINE
from services.registry import load
from shared.pipeline import topology
from tests.support import apiserver, chart, servers
from tests.support.apiserver import ADMIN, ApiServer
from tests.support.chart import CHART, RENDERED, ROOT, helm, objects, template
from tests.support.process import BIN
from tests.support.servers import HELM

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("servers"), pytest.mark.timeout(240)]

NAMESPACE = "moorage-system"
SECURE = ("--set", "nats.keyPerWorker=true,nats.caSecret=moorage-nats-ca")


@pytest.fixture(autouse=True, scope="module")
def _helm() -> None:
    """Skips, and says why, where there is no Helm; fails where it must be there."""
    if HELM.find() is None:
        reason = f"no helm in {HELM.folder()}: make servers builds it"
        pytest.fail(reason) if os.environ.get("MOORAGE_REQUIRE_SERVERS") else pytest.skip(reason)


def of_kind(found: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in found if each["kind"] == kind}


def refused(*arguments: str) -> str:
    """What Helm says to values that it does not take."""
    found = helm("template", "moorage", str(CHART), "--namespace", NAMESPACE, *arguments, check=False)
    assert found.returncode
    return found.stderr


def test_the_chart_is_clean() -> None:
    helm("lint", "--strict", str(CHART), "--namespace", NAMESPACE, "--kube-version", chart.KUBERNETES)


@pytest.mark.parametrize("folder", RENDERED, ids=lambda folder: folder.name)
def test_the_committed_manifests_are_what_it_renders(folder: Path) -> None:
    assert (folder / "moorage.yaml").read_text() == chart.rendered(folder), "run python -m tests.support.chart"


def test_keda_scales_each_worker_by_each_of_its_consumers() -> None:
    found = of_kind(objects(template("--set", "autoscaling.type=KEDA")), "ScaledObject")
    assert set(found) == set(PIPELINE)
    for name, scaled in found.items():
        triggers = [(each["metadata"]["stream"], each["metadata"]["consumer"]) for each in scaled["spec"]["triggers"]]
        assert triggers == [(each.stream, each.name) for each in topology.consumers(load(name))]


def test_keda_scales_by_the_numbers_that_the_simulation_takes() -> None:
    for name, each in of_kind(objects(template("--set", "autoscaling.type=KEDA")), "ScaledObject").items():
        spec, scaling = each["spec"], chart.scaling(name)
        window = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
        assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (scaling.least, scaling.most)
        assert {trigger["metadata"]["lagThreshold"] for trigger in spec["triggers"]} == {str(scaling.threshold)}
        assert window == {"stabilizationWindowSeconds": scaling.window}


def test_what_the_prometheus_operator_reads_gives_alerts_the_labels_that_they_ask_for() -> None:
    values = "podMonitor.enabled=true,prometheusRule.enabled=true,dashboard.enabled=true"
    found = objects(template("--set", values))
    (monitor,) = of_kind(found, "PodMonitor").values()
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert {each["targetLabel"] for each in endpoint["relabelings"]} == {"component"}
    label = monitor["spec"]["jobLabel"]
    jobs = {each["spec"]["template"]["metadata"]["labels"][label] for each in of_kind(found, "Deployment").values()}
    (rules,) = (each["spec"] for each in of_kind(found, "PrometheusRule").values())
    assert rules == yaml.safe_load((ROOT / "deploy/prometheus/rules.yaml").read_text())
    asked = set(re.findall(r'job="(.*?)"', json.dumps(rules).replace('\\"', '"')))
    assert asked == jobs == {"moorage"}
    dashboard = of_kind(found, "ConfigMap")["moorage-dashboard"]
    assert json.loads(dashboard["data"]["moorage.json"]) == json.loads(
        (ROOT / "deploy/grafana/moorage.json").read_text()
    )


@pytest.mark.parametrize("by", ["KEDA", "HPA"])
def test_what_scales_a_worker_alone_says_how_many_copies_there_are(by: str) -> None:
    found = objects(template("--set", f"autoscaling.type={by},workers.status.autoscaling.maxReplicas=40"))
    assert all("replicas" not in each["spec"] for each in of_kind(found, "Deployment").values())
    kind, most = {"KEDA": ("ScaledObject", "maxReplicaCount"), "HPA": ("HorizontalPodAutoscaler", "maxReplicas")}[by]
    assert {name: each["spec"][most] for name, each in of_kind(found, kind).items()} == {
        name: 40 if name == "status" else 10 for name in PIPELINE
    }


def test_a_worker_can_be_left_out_and_another_given_more() -> None:
    values = (
        "workers.intake.enabled=false,workers.scheduler.replicas=5,workers.scheduler.settings.MOORAGE_LOG_LEVEL=debug"
    )
    found = of_kind(objects(template("--set", values)), "Deployment")
    assert set(found) == set(PIPELINE) - {"intake"}
    (container,) = found["scheduler"]["spec"]["template"]["spec"]["containers"]
    assert found["scheduler"]["spec"]["replicas"] == 5
    assert container["env"] == [{"name": "MOORAGE_LOG_LEVEL", "value": "debug"}]
    assert found["decision"]["spec"]["replicas"] == 2


def test_files_and_programs_of_yours_come_into_the_workers_beside_what_is_there(tmp_path: Path) -> None:
    """As docs/clusters.md has it for access providers."""
    page = (ROOT / "docs/clusters.md").read_text()
    (given,) = re.findall(r"\n    defaults:\n(?:     .*\n)+", page)
    (tmp_path / "values.yaml").write_text(textwrap.dedent(given))
    values = yaml.safe_load(textwrap.dedent(given))["defaults"]
    found = of_kind(
        objects(template("--values", str(tmp_path / "values.yaml"), "--set", "nats.caSecret=ca")), "Deployment"
    )
    for name in ("discovery", "binding", "status", "intake"):
        pod = found[name]["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        for has, theirs in ((pod["volumes"], values["volumes"]), (container["volumeMounts"], values["volumeMounts"])):
            assert has[-2:] == theirs
            assert "nats-ca" in [each["name"] for each in has]


def test_with_a_key_per_worker_streams_are_made_beforehand_by_the_administrator_alone() -> None:
    found = objects(template(*SECURE))
    (job,) = of_kind(found, "Job").values()
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    pods = {"admin": job, **of_kind(found, "Deployment")}
    for name, each in pods.items():
        secrets = {
            volume["secret"]["secretName"]
            for volume in each["spec"]["template"]["spec"]["volumes"]
            if "secret" in volume
        }
        assert secrets == {f"moorage-nats-{name}", "moorage-nats-ca"}


def test_where_keda_scales_its_consumers_are_made_beforehand_with_the_login_and_settings_of_all() -> None:
    assert not of_kind(objects(template()), "Job")
    found = objects(template("--set", "autoscaling.type=KEDA,settings.MOORAGE_EVENTS_MAX_CONSUMERS=7"))
    (job,) = of_kind(found, "Job").values()
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert all("helm.sh/hook" not in each["metadata"].get("annotations", {}) for each in found if each is not job)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"] == ["provision"]
    assert {"name": "MOORAGE_EVENTS_MAX_CONSUMERS", "value": "7"} in container["env"]
    assert container["envFrom"] == [{"secretRef": {"name": "moorage-nats", "optional": True}}]
    assert "volumes" not in pod
    assert "volumeMounts" not in container


def test_kcp_is_reached_by_a_kubeconfig_and_gets_no_rights_of_kubernetes() -> None:
    assert "name in hub.kubeconfigSecret a Secret" in refused("--set", "hub.type=kcp")
    found = objects(template("--set", "hub.type=kcp,hub.kubeconfigSecret=hub,workers.intake.kubeconfigSecret=asker"))
    assert not of_kind(found, "ClusterRole")
    mounted = {}
    for name, each in of_kind(found, "Deployment").items():
        volumes = {volume["name"]: volume for volume in each["spec"]["template"]["spec"].get("volumes", ())}
        mounted[name] = volumes["hub"]["secret"]["secretName"] if "hub" in volumes else ""
    assert (mounted["intake"], mounted["binding"], mounted["scheduler"]) == ("asker", "hub", "")


def test_a_wrong_namespace_or_value_is_refused_by_a_sentence() -> None:
    assert "install it with --namespace moorage-system" in refused("--namespace", "elsewhere")
    assert "replica" in refused("--set", "workers.scheduler.replica=3")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server on which nothing is installed, whose namespace for Moorage takes restricted pods alone."""
    binaries = servers.find()
    assert binaries, "the servers of Kubernetes are built before Helm"
    with apiserver.servers(binaries, tmp_path_factory.mktemp("chart")) as running:
        found = running.apiserver("hub")
        kubectl(found, "create", "namespace", NAMESPACE)
        kubectl(found, "label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
        yield found


def kubectl(server: ApiServer, *arguments: str, given: str = "") -> str:
    command = [str(BIN / "kubectl"), "--kubeconfig", str(server.kubeconfigs[ADMIN]), *arguments]
    found = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_it_is_installed_upgraded_and_uninstalled_and_its_pods_are_admitted(hub: ApiServer) -> None:
    at = ("--kubeconfig", str(hub.kubeconfigs[ADMIN]), "--namespace", NAMESPACE)
    helm("install", "moorage", str(CHART), *at)
    there = json.loads(kubectl(hub, "get", "deployments", "-n", NAMESPACE, "-o", "json"))["items"]
    assert {each["metadata"]["name"] for each in there} == set(PIPELINE)
    (provision,) = of_kind(objects(template("--set", "autoscaling.type=KEDA")), "Job").values()
    for each in (*there, provision):
        template_of = each["spec"]["template"]
        template_of["spec"].pop("serviceAccountName", "")  # no controller makes tokens here
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "trial", "labels": template_of["metadata"]["labels"]},
        }
        kubectl(
            hub,
            "create",
            "-n",
            NAMESPACE,
            "--dry-run=server",
            "-f",
            "-",
            given=yaml.safe_dump({**pod, "spec": template_of["spec"]}),
        )
    generations = [each["metadata"]["generation"] for each in there]
    helm("upgrade", "moorage", str(CHART), *at)
    again = json.loads(kubectl(hub, "get", "deployments", "-n", NAMESPACE, "-o", "json"))["items"]
    assert [each["metadata"]["generation"] for each in again] == generations
    helm("uninstall", "moorage", *at)
    assert (
        json.loads(
            kubectl(hub, "get", "deployments,clusterroles", "-A", "-l", "app.kubernetes.io/name=moorage", "-o", "json")
        )["items"]
        == []
    )
    assert "placements.placement.moorage.io" in kubectl(hub, "get", "crds", "-o", "name")
