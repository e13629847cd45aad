"""What objects ask for, after kube-scheduler's rule."""

import re

import pytest

from shared.hub.workload import pod_requests, select, summarize


def container(cpu: str | None = None, memory: str | None = None, limit: str | None = None, **more) -> dict:
    requests = {name: value for name, value in (("cpu", cpu), ("memory", memory)) if value}
    resources = {"requests": requests, **({"limits": {"cpu": limit}} if limit else {})}
    return {"name": "c", "resources": resources, **more}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, {"pods": 1}),
        ({"containers": [container("500m", "1Gi"), container("250m")]}, {"cpu": 0.75, "memory": 2.0**30, "pods": 1}),
        ({"containers": [container(limit="2")]}, {"cpu": 2, "pods": 1}),
        ({"containers": [container("1", limit="2")]}, {"cpu": 1, "pods": 1}),
        ({"containers": [container("1")], "initContainers": [container("3")]}, {"cpu": 3, "pods": 1}),
        (
            {"containers": [container("1")], "initContainers": [container("3", restartPolicy="Always")]},
            {"cpu": 4, "pods": 1},
        ),
        (
            {
                "containers": [container("1")],
                "initContainers": [container("1", restartPolicy="Always"), container("3")],
            },
            {"cpu": 4, "pods": 1},
        ),
        ({"containers": [container("1")], "overhead": {"cpu": "250m"}}, {"cpu": 1.25, "pods": 1}),
        ({"containers": [container("1")], "resources": {"requests": {"cpu": "2"}}}, {"cpu": 2, "pods": 1}),
    ],
)
def test_a_pod_asks_for_its_containers_its_greatest_init_container_and_the_overhead(spec, expected):
    assert pod_requests(spec) == expected


@pytest.mark.parametrize(
    ("api_version", "kind", "spec", "replicas"),
    [
        ("apps/v1", "Deployment", {"replicas": 3, "template": {"spec": {}}}, 3),
        ("apps/v1", "Deployment", {"template": {"spec": {}}}, 1),
        ("apps/v1", "Deployment", {"replicas": 0, "template": {"spec": {}}}, 0),
        ("v1", "ReplicationController", {"replicas": 2, "template": {"spec": {}}}, 2),
        ("batch/v1", "Job", {"parallelism": 2, "template": {"spec": {}}}, 2),
        ("batch/v1", "Job", {"parallelism": 40, "completions": 3, "template": {"spec": {}}}, 3),
        ("batch/v1", "Job", {"parallelism": 2, "completions": 3, "template": {"spec": {}}}, 2),
        ("batch/v1", "CronJob", {"jobTemplate": {"spec": {"parallelism": 2}}}, None),
        ("apps/v1", "DaemonSet", {"template": {"spec": {}}}, None),
        ("v1", "ConfigMap", {}, None),
    ],
)
def test_replicas_are_read_where_the_kind_keeps_them(api_version, kind, spec, replicas):
    metadata = {"name": "x", "namespace": "n"}
    found = summarize({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec})
    assert found.replicas == replicas


def test_a_kind_of_another_group_is_another_kind_and_nothing_is_known_of_its_pods():
    spec = {"replicas": 6, "template": {"spec": {"containers": [container("1")]}}}
    obj = {"apiVersion": "apps.kruise.io/v1beta1", "kind": "StatefulSet", "metadata": {"name": "x"}, "spec": spec}
    found = select(obj)
    assert (found.summary.replicas, found.summary.requests, found.pod_labels) == (None, {}, ())
    ours = select({**obj, "apiVersion": "apps/v1"})
    assert (ours.summary.replicas, ours.summary.requests, ours.pod_labels) == (6, {"cpu": 1, "pods": 1}, ({},))


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        ({}, {"cpu": 2, "pods": 1}),
        ({"parallelism": 3}, {"cpu": 6, "pods": 3}),
        ({"parallelism": 0}, {"cpu": 0, "pods": 0}),
    ],
)
def test_a_cron_job_asks_for_what_the_pods_of_one_run_ask_for(job, expected):
    template = {"spec": {"containers": [container("2")]}}
    spec = {"jobTemplate": {"spec": {"template": template, **job}}}
    obj = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "x"}, "spec": spec}
    assert summarize(obj).requests == expected


def test_the_hash_is_of_the_content_and_not_of_what_the_server_keeps():
    plain = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "n"}, "data": {"a": "1"}}
    served = {**plain, "metadata": {**plain["metadata"], "resourceVersion": "9", "uid": "u"}, "status": {"x": 1}}
    assert summarize(plain).hash == summarize(served).hash
    assert summarize(plain).hash != summarize({**plain, "data": {"a": "2"}}).hash


def test_a_request_that_is_no_quantity_is_named():
    with pytest.raises(ValueError, match="request for cpu"):
        pod_requests({"containers": [container("lots")]})


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"replicas": -1}, "spec.replicas: '-1' is no number of replicas"),
        ({"replicas": "three"}, "spec.replicas: 'three' is no number of replicas"),
        ({"replicas": True}, "spec.replicas: 'True' is no number of replicas"),
        ({"replicas": 2**31}, "spec.replicas: '2147483648' is no number of replicas"),
        ({"template": {"spec": {"containers": "web"}}}, "Expected `array | null`, got `str` - at `$.containers`"),
        ({"template": {"spec": {"containers": [container("lots")]}}}, "request for cpu: 'lots' is not a quantity"),
    ],
)
def test_an_object_that_no_api_server_would_take_is_refused_in_words(spec, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        select({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})


def test_an_inline_manifest_without_a_namespace_is_in_the_placements():
    found = summarize({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}}, "apps")
    assert found.ref == "v1 Secret apps/x"


def test_what_goes_along_with_an_object_is_known_with_it():
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"serviceAccountName": "runner"}}
    obj = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": template}}
    found = select(obj, "apps")
    assert found.summary == summarize(obj, "apps")
    assert [(each.kind, each.name) for each in found.references] == [("ServiceAccount", "runner")]
    assert found.pod_labels == ({"app": "web"},)
    assert select({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}}).pod_labels == ()
