"""What a workload refers to."""

from typing import Any

import pytest

from shared.hub.references import Reference, pod_template, references, selecting


def workload(kind: str = "Deployment", api_version: str = "apps/v1", **pod: Any) -> dict[str, Any]:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": "web"},
        "spec": {"template": {"metadata": {"labels": {"app": "web", "tier": "front"}}, "spec": pod}},
    }


def containers(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "main", **fields}]}


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        ({}, []),
        ({"serviceAccountName": "runner"}, [Reference("ServiceAccount", "runner")]),
        ({"serviceAccountName": "default"}, []),
        ({"imagePullSecrets": [{"name": "pull"}, {}]}, [Reference("Secret", "pull")]),
        (containers(envFrom=[{"configMapRef": {"name": "a"}}]), [Reference("ConfigMap", "a")]),
        (containers(envFrom=[{"secretRef": {"name": "a", "optional": True}}]), [Reference("Secret", "a", True)]),
        (
            containers(env=[{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "k"}}}]),
            [Reference("ConfigMap", "a")],
        ),
        (
            containers(env=[{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}, {"name": "Y"}]),
            [Reference("Secret", "s")],
        ),
        ({"initContainers": [{"envFrom": [{"configMapRef": {"name": "i"}}]}]}, [Reference("ConfigMap", "i")]),
        ({"volumes": [{"name": "v", "configMap": {"name": "a"}}]}, [Reference("ConfigMap", "a")]),
        ({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}, [Reference("Secret", "s")]),
        (
            {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "disk"}}]},
            [Reference("PersistentVolumeClaim", "disk")],
        ),
        (
            {"volumes": [{"projected": {"sources": [{"configMap": {"name": "a"}}, {"secret": {"name": "s"}}]}}]},
            [Reference("ConfigMap", "a"), Reference("Secret", "s")],
        ),
        ({"volumes": [{"csi": {"nodePublishSecretRef": {"name": "s"}}}]}, [Reference("Secret", "s")]),
        ({"volumes": [{"configMap": {"name": "kube-root-ca.crt"}}]}, []),
        ({"volumes": [{"emptyDir": {}}, "nonsense"], "containers": "nonsense"}, []),
        (
            {
                "volumes": [{"configMap": {"name": "a", "optional": True}}],
                **containers(envFrom=[{"configMapRef": {"name": "a"}}]),
            },
            [Reference("ConfigMap", "a")],
        ),
    ],
)
def test_references_are_found_wherever_a_pod_may_name_them(pod: dict[str, Any], expected: list[Reference]) -> None:
    assert references(workload(**pod)) == expected


def test_the_pod_template_of_a_cron_job_lies_deeper_and_a_pod_is_its_own() -> None:
    inner = {"spec": {"serviceAccountName": "runner"}}
    cron = {"apiVersion": "batch/v1", "kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": inner}}}}
    pod = {"apiVersion": "v1", "kind": "Pod", **inner}
    assert pod_template(cron) == inner
    assert references(cron) == references(pod) == [Reference("ServiceAccount", "runner")]


@pytest.mark.parametrize(
    "obj", [{"apiVersion": "v1", "kind": "ConfigMap"}, {"apiVersion": "shop.io/v1", "kind": "Deployment"}, {}]
)
def test_other_kinds_have_no_pods(obj: dict[str, Any]) -> None:
    assert pod_template(obj) is None
    assert references(obj) == []


@pytest.mark.parametrize(
    ("selector", "selected"),
    [({"app": "web"}, True), ({"app": "web", "tier": "back"}, False), ({}, False), (None, False)],
)
def test_services_come_along_that_select_the_pods(selector: dict[str, str] | None, selected: bool) -> None:
    service = {"kind": "Service", "metadata": {"name": "s"}, "spec": {"selector": selector}}
    found = selecting([service, {"kind": "Service"}], [workload(), {"apiVersion": "v1", "kind": "ConfigMap"}])
    assert (found == [service]) is selected
