"""Real kubectl against a served world."""

import json

import pytest

from services.sandbox.run import serve
from services.sandbox.world.world import DEFAULT
from tests.support import kubectl as support
from tests.support.kubectl import DEPLOYMENT, needs_kubectl

pytestmark = needs_kubectl

AUTOSCALER = """
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec: {maxReplicas: 5, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {maxUnavailable: 50%, selector: {matchLabels: {app: web}}}
"""


@pytest.fixture
async def kubectl(tmp_path):
    """Runs kubectl as somebody; returns its exit code and all that it said."""
    async with serve(DEFAULT, "127.0.0.1", 0, tmp_path) as ready:

        async def run(who: str, *args: str, given: str = "") -> tuple[int, str]:
            return await support.kubectl(tmp_path, ready.kubeconfigs[who], *args, given=given)

        yield run


async def says(kubectl, words, *args, **more):
    code, output = await kubectl("target-east-1", *args, **more)
    assert code == 0, output
    assert words in output, output


async def test_a_deployment_lives_from_apply_to_delete(kubectl):
    await says(kubectl, "deployment.apps/web created", "apply", "-f", "-", given=DEPLOYMENT)
    await says(kubectl, "successfully rolled out", "rollout", "status", "deploy/web", "--timeout=20s")
    await says(kubectl, "unchanged", "apply", "-f", "-", given=DEPLOYMENT)
    code, diff = await kubectl("target-east-1", "diff", "-f", "-", given=DEPLOYMENT.replace("nginx:1", "nginx:2"))
    assert (code, "+        image: nginx:2" in diff) == (1, True)
    await says(kubectl, "configured", "apply", "-f", "-", given=DEPLOYMENT.replace("nginx:1", "nginx:2"))
    await says(kubectl, "scaled", "scale", "deploy/web", "--replicas=3")
    await says(kubectl, "condition met", "wait", "deploy/web", "--for=jsonpath={.status.readyReplicas}=3")
    await says(kubectl, "3 desired | 3 updated", "describe", "deploy", "web")
    code, conflict = await kubectl("target-east-1", "apply", "--server-side", "-f", "-", given=DEPLOYMENT)
    assert (code, ".spec.replicas" in conflict) == (1, True), conflict
    await says(
        kubectl, "serverside-applied", "apply", "--server-side", "--force-conflicts", "-f", "-", given=DEPLOYMENT
    )
    await says(kubectl, "patched", "patch", "deploy", "web", "-p", '{"metadata": {"labels": {"x": "y"}}}')
    await says(kubectl, "web", "get", "deploy", "-l", "x=y", "-o", "wide")
    await says(kubectl, 'deployment.apps "web" deleted', "delete", "deploy", "web")


async def test_namespaces_config_maps_and_reviews(kubectl):
    await says(kubectl, "namespace/team created", "create", "namespace", "team")
    await says(kubectl, "configmap/c created", "-n", "team", "create", "configmap", "c", "--from-literal=a=b")
    await says(kubectl, "yes", "auth", "can-i", "delete", "pods")
    await says(kubectl, "admin", "auth", "whoami")
    await says(kubectl, "DESCRIPTION", "explain", "deployment.spec.template")
    await says(kubectl, "deployments", "api-resources", "--verbs=list", "-o", "name")
    await says(kubectl, "east-1-0", "get", "nodes")
    await says(kubectl, 'namespace "team" deleted', "delete", "namespace", "team")


async def test_get_watch_prints_rows_as_they_change(kubectl):
    await says(kubectl, "created", "create", "configmap", "one")
    code, output = await kubectl("target-east-1", "get", "configmaps", "-w", "--request-timeout=2s")
    assert "one" in output, (code, output)


async def test_users_of_the_hub_may_do_what_their_roles_say(kubectl):
    code, output = await kubectl("user-alice", "auth", "can-i", "create", "deployments.apps")
    assert (code, output.strip()) == (0, "yes")
    code, output = await kubectl("user-alice", "apply", "-f", "-", given=DEPLOYMENT)
    assert code == 0, output
    code, output = await kubectl("user-paula", "get", "deployments", "-o", "json")
    assert (code, json.loads(output)["items"]) == (0, [])
    code, output = await kubectl("admin", "get", "workspaces")
    assert (code, "Ready" in output) == (0, True)


async def test_in_a_workspace_what_was_applied_is_changed_as_in_any_cluster(kubectl):
    async def alice(words, *args, **more):
        code, output = await kubectl("user-alice", *args, **more)
        assert code == 0, output
        assert words in output, output
        return output

    changed = DEPLOYMENT.replace("nginx:1", "nginx:2")
    await alice("deployment.apps/web created", "apply", "-f", "-", given=DEPLOYMENT)
    code, diff = await kubectl("user-alice", "diff", "-f", "-", given=changed)
    assert (code, "+        image: nginx:2" in diff) == (1, True), diff
    await alice("deployment.apps/web configured", "apply", "-f", "-", given=changed)
    await alice("deployment.apps/web unchanged", "apply", "-f", "-", given=changed)
    await alice("scaled", "scale", "deploy/web", "--replicas=3")
    await alice("image updated", "set", "image", "deploy/web", "main=nginx:3")
    await alice("env updated", "set", "env", "deploy/web", "B=2")
    await alice("patched", "patch", "deploy", "web", "-p", '{"metadata": {"labels": {"x": "y"}}}')
    found = json.loads(await alice("web", "get", "deploy", "web", "-o", "json"))
    (container,) = found["spec"]["template"]["spec"]["containers"]
    assert (container["image"], found["spec"]["replicas"]) == ("nginx:3", 3)
    assert container["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    await alice("horizontalpodautoscaler.autoscaling/web created", "apply", "-f", "-", given=AUTOSCALER)
    await alice("poddisruptionbudget.policy/web configured", "apply", "-f", "-", given=AUTOSCALER.replace("50", "60"))
    await alice("horizontalpodautoscaler.autoscaling/web", "get", "hpa,pdb", "-o", "name")


async def test_fields_are_explained_by_either_version_of_openapi(kubectl):
    for version in ("plaintext", "plaintext-openapiv2"):
        code, said = await kubectl("user-alice", "explain", "deploy.spec", f"--output={version}")
        assert code == 0, said
        assert "<integer>" in said
        assert "-required-" in said
    code, said = await kubectl("user-alice", "get", "--raw", "/openapi/v2")
    assert (code, json.loads(said)["swagger"]) == (0, "2.0")
    assert "io.k8s.api.core.v1.Namespace" in json.loads(said)["definitions"]
