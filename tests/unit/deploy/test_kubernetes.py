"""deploy/kubernetes, as kubectl renders it: eight workers with settings, rights and probes that exist."""

import subprocess
from typing import Any

import pytest
import yaml

from services import PIPELINE
from services.policy.settings import PolicySettings
from services.registry import load
from shared.api.resources import RESOURCES
from shared.kube.quantity import parse_quantity
from shared.process.settings import HubSettings, fields
from shared.process.settings import load as load_settings
from tests.support.compose import ENTRYPOINT, ROOT, SERVICES
from tests.support.process import BIN

GROUP = "placement.moorage.io"
IDLE_MIB = 128  # what a worker takes by itself, amply: docs/performance.md


@pytest.fixture(scope="module", params=["deploy/kubernetes", "deploy/overlays/secure"])
def objects(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """All that `kubectl apply -k` would send."""
    found = subprocess.run(
        [str(BIN / "kubectl"), "kustomize", str(ROOT / request.param)], capture_output=True, text=True, timeout=60
    )
    assert found.returncode == 0, found.stderr
    return list(yaml.safe_load_all(found.stdout))


def of_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def container(objects: list[dict[str, Any]], worker: str) -> dict[str, Any]:
    containers: list[dict[str, Any]] = of_kind(objects, "Deployment")[worker]["spec"]["template"]["spec"]["containers"]
    (found,) = containers
    return found


def configured(objects: list[dict[str, Any]]) -> dict[str, str]:
    data: dict[str, str] = of_kind(objects, "ConfigMap")["moorage"]["data"]
    return data


def test_there_is_a_deployment_and_a_disruption_budget_per_worker(objects: list[dict[str, Any]]) -> None:
    assert set(of_kind(objects, "Deployment")) == set(of_kind(objects, "PodDisruptionBudget")) == set(PIPELINE)


@pytest.mark.parametrize("worker", PIPELINE)
def test_a_deployment_runs_its_worker(objects: list[dict[str, Any]], worker: str) -> None:
    found = container(objects, worker)
    assert found["args"] == ["worker", worker]
    assert "command" not in found, f"the image's entrypoint is {ENTRYPOINT}"


@pytest.mark.parametrize("worker", PIPELINE)
def test_selectors_match_their_pods(objects: list[dict[str, Any]], worker: str) -> None:
    deployment = of_kind(objects, "Deployment")[worker]["spec"]
    budget = of_kind(objects, "PodDisruptionBudget")[worker]["spec"]
    labels = deployment["template"]["metadata"]["labels"].items()
    assert deployment["selector"]["matchLabels"].items() <= labels
    assert budget["selector"]["matchLabels"].items() <= labels
    assert budget["maxUnavailable"] < deployment["replicas"]
    (spread,) = deployment["template"]["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"].items() <= labels
    assert "app.kubernetes.io/component" in spread["matchLabelKeys"]


@pytest.mark.parametrize("worker", PIPELINE)
def test_the_settings_are_known_and_usable(objects: list[dict[str, Any]], worker: str) -> None:
    settings = load(worker).settings
    known = {info.env for info in fields(HubSettings)}
    data = configured(objects)
    assert set(data) <= known
    loaded = load_settings(settings, {}, data)
    pod = of_kind(objects, "Deployment")[worker]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > loaded.drain_seconds
    assert container(objects, worker)["ports"] == [{"name": "health", "containerPort": loaded.health_port}]
    assert container(objects, worker)["envFrom"][0]["configMapRef"]["name"] in of_kind(objects, "ConfigMap")


@pytest.mark.parametrize("worker", PIPELINE)
def test_pods_may_do_little_and_are_probed(objects: list[dict[str, Any]], worker: str) -> None:
    pod = of_kind(objects, "Deployment")[worker]["spec"]["template"]["spec"]
    found = container(objects, worker)
    assert pod["securityContext"]["runAsNonRoot"]
    assert found["securityContext"]["readOnlyRootFilesystem"]
    assert not found["securityContext"]["allowPrivilegeEscalation"]
    assert found["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert found["livenessProbe"]["httpGet"]["path"] == found["startupProbe"]["httpGet"]["path"] == "/healthz"


@pytest.mark.parametrize("worker", PIPELINE)
def test_workers_without_business_on_the_hub_reach_dns_nats_and_traces_alone(
    objects: list[dict[str, Any]], worker: str
) -> None:
    policy = of_kind(objects, "NetworkPolicy")["policy-and-scheduler-egress"]["spec"]
    (chosen,) = policy["podSelector"]["matchExpressions"]
    assert (worker in chosen["values"]) == (not issubclass(load(worker).settings, HubSettings))
    nats = int(configured(objects)["MOORAGE_NATS_URL"].rpartition(":")[2])
    assert {each["port"] for rule in policy["egress"] for each in rule["ports"]} == {53, nats, 4318}


@pytest.mark.parametrize("worker", PIPELINE)
def test_nobody_reaches_a_worker_but_for_its_health(objects: list[dict[str, Any]], worker: str) -> None:
    policy = of_kind(objects, "NetworkPolicy")["workers-ingress"]["spec"]
    labels = of_kind(objects, "Deployment")[worker]["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    ports = [each["port"] for rule in policy["ingress"] for each in rule["ports"]]
    assert ports == [each["name"] for each in container(objects, worker)["ports"]]


@pytest.mark.parametrize("worker", PIPELINE)
def test_only_workers_of_the_hub_have_an_account(objects: list[dict[str, Any]], worker: str) -> None:
    pod = of_kind(objects, "Deployment")[worker]["spec"]["template"]["spec"]
    if issubclass(load(worker).settings, HubSettings):
        assert pod["serviceAccountName"] in of_kind(objects, "ServiceAccount")
    else:
        assert pod["automountServiceAccountToken"] is False


def test_the_policy_worker_has_the_memory_that_its_rules_may_take(objects: list[dict[str, Any]]) -> None:
    settings = PolicySettings()
    limit = container(objects, "policy")["resources"]["limits"]["memory"]
    assert parse_quantity(limit) >= (settings.rule_processes * settings.rule_memory_mib + IDLE_MIB) << 20
    assert parse_quantity(SERVICES["policy"]["mem_limit"].replace("m", "Mi")) == parse_quantity(limit)


def test_every_account_is_bound_to_a_role_that_exists(objects: list[dict[str, Any]]) -> None:
    bindings = of_kind(objects, "ClusterRoleBinding").values()
    assert {each["roleRef"]["name"] for each in bindings} <= set(of_kind(objects, "ClusterRole"))
    bound = {subject["name"] for each in bindings for subject in each["subjects"]}
    assert bound == set(of_kind(objects, "ServiceAccount"))


def test_rights_are_narrow_and_name_resources_that_exist(objects: list[dict[str, Any]]) -> None:
    ours = {resource.plural for resource in RESOURCES}
    for role in of_kind(objects, "ClusterRole").values():
        for rule in role.get("rules", []):
            assert "*" not in {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
            if GROUP in rule["apiGroups"]:
                assert {name.split("/")[0] for name in rule["resources"]} <= ours


def test_only_namespaced_objects_name_a_namespace(objects: list[dict[str, Any]]) -> None:
    namespaced = {"ServiceAccount", "ConfigMap", "Deployment", "PodDisruptionBudget", "NetworkPolicy"}
    for each in objects:
        assert ("namespace" in each["metadata"]) == (each["kind"] in namespaced), each["metadata"]["name"]
