"""What a workload refers to."""

from typing import Any

import pytest

from shared.hub.kinds import BUILT_IN, pod_templates
from shared.hub.references import Reference, is_made_by_cluster, left_behind, references, selecting


def workload(kind: str = "Deployment", api_version: str = "apps/v1", **pod: Any) -> dict[str, Any]:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": "web"},
        "spec": {"template": {"metadata": {"labels": {"app": "web", "tier": "front"}}, "spec": pod}},
    }


def containers(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "main", **fields}]}


def copying(kind: str) -> dict[str, Any]:
    """An ephemeral volume that begins as a copy."""
    return {"volumeClaimTemplate": {"spec": {"dataSource": {"kind": kind, "name": "golden"}}}}


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
        ({"serviceAccount": "runner"}, [Reference("ServiceAccount", "runner")]),
        ({"volumes": [{"azureFile": {"secretName": "s", "shareName": "x"}}]}, [Reference("Secret", "s")]),
        ({"volumes": [{"cinder": {"secretRef": {"name": "s"}}}]}, [Reference("Secret", "s")]),
        ({"volumes": [{"cephfs": {"secretRef": {"name": "s"}}}]}, [Reference("Secret", "s")]),
        ({"volumes": [{"flexVolume": {"secretRef": {"name": "s"}}}]}, [Reference("Secret", "s")]),
        ({"volumes": [{"iscsi": {"secretRef": {"name": "s"}}}]}, [Reference("Secret", "s")]),
        ({"volumes": [{"rbd": {"secretRef": {"name": "s"}}}]}, [Reference("Secret", "s")]),
        ({"volumes": [{"scaleIO": {"secretRef": {"name": "s"}}}]}, [Reference("Secret", "s")]),
        ({"volumes": [{"storageos": {"secretRef": {"name": "s"}}}]}, [Reference("Secret", "s")]),
        ({"volumes": [{"csi": {"nodePublishSecretRef": {"name": "s"}}}]}, [Reference("Secret", "s")]),
        (
            {"volumes": [{"ephemeral": copying("PersistentVolumeClaim")}]},
            [Reference("PersistentVolumeClaim", "golden")],
        ),
        ({"volumes": [{"ephemeral": copying("VolumeSnapshot")}]}, []),
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
    assert pod_templates(cron, BUILT_IN.of(cron)) == [inner]
    assert references(cron) == references(pod) == [Reference("ServiceAccount", "runner")]


@pytest.mark.parametrize(
    "obj", [{"apiVersion": "v1", "kind": "ConfigMap"}, {"apiVersion": "shop.io/v1", "kind": "Deployment"}, {}]
)
def test_other_kinds_have_no_pods(obj: dict[str, Any]) -> None:
    assert pod_templates(obj, BUILT_IN.of(obj)) == []
    assert references(obj) == []


@pytest.mark.parametrize(
    ("selector", "selected"),
    [({"app": "web"}, True), ({"app": "web", "tier": "back"}, False), ({}, False), (None, False)],
)
def test_services_come_along_that_select_the_pods(selector: dict[str, str] | None, selected: bool) -> None:
    service = {"kind": "Service", "metadata": {"name": "s"}, "spec": {"selector": selector}}
    found = selecting([service, {"kind": "Service"}], [workload(), {"apiVersion": "v1", "kind": "ConfigMap"}])
    assert (found == [service]) is selected


def test_other_objects_name_some_too() -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "imagePullSecrets": [{"name": "pull"}, {}]}
    assert references(account) == [Reference("Secret", "pull")]
    backend = {"service": {"name": "web"}}
    spec = {
        "tls": [{"secretName": "cert"}, {}],
        "rules": [{"http": {"paths": [{"backend": backend}, {"backend": {"service": {"name": "api"}}}]}}, {}],
        "defaultBackend": {"service": {"name": "rest"}},
    }
    ingress = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": spec}
    services = [Reference("Service", name) for name in ("api", "rest", "web")]
    assert references(ingress) == [Reference("Secret", "cert"), *services]


def test_claims_bring_the_claims_that_they_are_copies_of() -> None:
    def claim(kind: str) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "spec": copying(kind)["volumeClaimTemplate"]["spec"],
        }

    golden = [Reference("PersistentVolumeClaim", "golden")]
    assert references(claim("PersistentVolumeClaim")) == golden
    assert references(claim("VolumeSnapshot")) == []
    owner = workload("StatefulSet")
    owner["spec"]["volumeClaimTemplates"] = [claim("PersistentVolumeClaim"), claim("VolumeSnapshot")]
    assert references(owner) == golden


def test_what_pods_name_and_what_does_not_come_along_is_known() -> None:
    claims = [{"name": "gpu", "resourceClaimName": "mine"}, {"name": "nic", "resourceClaimTemplateName": "each"}, {}]
    assert left_behind(workload(resourceClaims=claims)) == ["ResourceClaim mine", "ResourceClaimTemplate each"]
    assert left_behind(workload()) == []


def made(kind: str, name: str = "x", api_version: str = "v1", **fields: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **fields}


def owned(api_version: str, kind: str) -> dict[str, Any]:
    owner = {"apiVersion": api_version, "kind": kind, "name": "web", "uid": "1", "controller": True}
    return {**made("Pod"), "metadata": {"name": "x", "ownerReferences": [owner]}}


def written(kind: str, *managers: str) -> dict[str, Any]:
    return {**made(kind), "metadata": {"name": "x", "managedFields": [{"manager": each} for each in managers]}}


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (made("ConfigMap", "kube-root-ca.crt"), True),
        (made("ConfigMap", "openshift-service-ca.crt"), True),
        (made("ServiceAccount", "default"), True),
        (made("Secret", type="kubernetes.io/service-account-token"), True),
        (owned("apps/v1", "ReplicaSet"), True),
        (owned("batch/v1", "CronJob"), True),
        (owned("shop.io/v1", "Till"), False),
        (written("PersistentVolumeClaim", "kube-controller-manager", "kube-controller-manager"), True),
        (written("PersistentVolumeClaim", "kubectl-create", "kube-controller-manager"), False),
        (made("ConfigMap"), False),
        (made("Secret", type="Opaque"), False),
        (made("ConfigMap", "kube-root-ca.crt", "shop.io/v1"), False),
        ({}, False),
    ],
)
def test_what_clusters_make_themselves_is_known(obj: dict[str, Any], expected: bool) -> None:
    assert is_made_by_cluster(obj) is expected
