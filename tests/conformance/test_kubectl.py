"""Real kubectl against each server: what people type has to work, and to say the same."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.conformance.api import Api
from tests.conformance.widgets import GROUP
from tests.support import kubectl as support
from tests.support.kubectl import DEPLOYMENT, needs_kubectl

pytestmark = needs_kubectl

Kubectl = Callable[..., Awaitable[tuple[int, str]]]

WIDGET = """
apiVersion: conformance.moorage.io/v1
kind: Widget
metadata: {name: a, labels: {app: a}}
spec: {size: 7, color: red, listeners: [{port: 80, protocol: TCP}]}
"""


@pytest.fixture
def kubectl(api: Api, tmp_path: Path) -> Kubectl:
    """Runs kubectl in the case's namespace; returns its exit code and all that it said."""

    async def run(*args: str, given: str = "", kubeconfig: Path | None = None) -> tuple[int, str]:
        chosen = kubeconfig or api.backend.admin
        return await support.kubectl(tmp_path, chosen, "--namespace", api.namespace, *args, given=given)

    return run


@pytest.fixture
async def workloads(api: Api, kubectl: Kubectl) -> Kubectl:
    """The same where Deployments are built in, in a namespace of the same name."""
    if api.backend.workloads is None:
        pytest.skip(f"{api.backend.name} builds no Deployments in")

    async def run(*args: str, given: str = "") -> tuple[int, str]:
        return await kubectl(*args, given=given, kubeconfig=api.backend.workloads)

    if api.backend.workloads != api.backend.admin:
        await says(run, "created", "create", "namespace", api.namespace)
    return run


async def says(kubectl: Kubectl, words: str, *args: str, code: int = 0, given: str = "") -> str:
    found, output = await kubectl(*args, given=given)
    assert (found, words in output) == (code, True), output
    return output


KINDS = pytest.mark.parametrize(
    ("where", "document", "name"),
    [("kubectl", WIDGET, f"widget.{GROUP}/a"), ("workloads", DEPLOYMENT, "deployment.apps/web")],
    ids=["Widget", "Deployment"],
)


@KINDS
async def test_apply_creates_leaves_alone_changes_and_deletes(kubectl, workloads, where, document, name):
    kubectl = {"kubectl": kubectl, "workloads": workloads}[where]
    await says(kubectl, f"{name} created", "apply", "-f", "-", given=document)
    await says(kubectl, f"{name} unchanged", "apply", "-f", "-", given=document)
    changed = document.replace("color: red", "color: blue").replace("nginx:1", "nginx:2")
    await says(kubectl, f"{name} configured", "apply", "-f", "-", given=changed)
    await says(kubectl, "deleted", "delete", "-f", "-", given=document)
    await says(kubectl, "NotFound", "get", name, code=1)


@KINDS
async def test_server_side_apply_and_its_conflicts(kubectl, workloads, where, document, name):
    kubectl = {"kubectl": kubectl, "workloads": workloads}[where]
    apply = ("apply", "--server-side", "-f", "-")
    await says(kubectl, f"{name} serverside-applied", *apply, given=document)
    await says(kubectl, f"{name} serverside-applied", *apply, given=document)
    changed = document.replace("color: red", "color: blue").replace("nginx:1", "nginx:2")
    await says(kubectl, "Apply failed with 1 conflict", *apply, "--field-manager=other", code=1, given=changed)
    await says(kubectl, "serverside-applied", *apply, "--field-manager=other", "--force-conflicts", given=changed)


async def test_diff_shows_what_an_apply_would_change(kubectl: Kubectl):
    changed = WIDGET.replace("size: 7", "size: 8")
    await says(kubectl, "created", "apply", "-f", "-", given=WIDGET)
    await says(kubectl, "", "diff", "-f", "-", given=WIDGET)
    output = await says(kubectl, "+  size: 8", "diff", "-f", "-", code=1, given=changed)
    assert "-  size: 7" in output


async def test_kubectl_goes_over_from_client_side_to_server_side_apply(kubectl: Kubectl):
    changed = WIDGET.replace("size: 7", "size: 8")
    await says(kubectl, "created", "apply", "-f", "-", given=WIDGET)
    await says(kubectl, "+  size: 8", "diff", "--server-side", "-f", "-", code=1, given=changed)
    await says(kubectl, "serverside-applied", "apply", "--server-side", "-f", "-", given=changed)


async def test_get_prints_the_columns_of_the_kind(kubectl: Kubectl):
    await says(kubectl, "created", "apply", "-f", "-", given=WIDGET)
    head, row = (await says(kubectl, "a", "get", "widgets")).splitlines()
    assert head.split() == ["NAME", "SIZE", "READY", "AGE"]
    assert row.split()[:2] == ["a", "7"]
    head, row = (await says(kubectl, "a", "get", "wd", "-o", "wide")).splitlines()
    assert head.split() == ["NAME", "SIZE", "COLOR", "READY", "AGE"]
    await says(kubectl, f"widget.{GROUP}/a", "get", "conformance", "-o", "name")  # by its category
    await says(kubectl, "80", "get", "widget", "a", "-o", "jsonpath={.spec.listeners[0].port}")
    await says(kubectl, "No resources found", "get", "widgets", "-l", "app=other")
    found = json.loads(await says(kubectl, "", "get", "widgets", "-o", "json"))
    assert [each["spec"]["color"] for each in found["items"]] == ["red"]


async def test_get_watch_prints_a_row_per_change(api: Api, kubectl: Kubectl):
    await says(kubectl, "created", "apply", "-f", "-", given=WIDGET)
    code, output = await kubectl("get", "widgets", "-w", "--request-timeout=2s")
    assert output.splitlines()[1].split()[:2] == ["a", "7"], (code, output)


async def test_wait_waits_for_a_condition_and_a_field(kubectl: Kubectl):
    await says(kubectl, "created", "apply", "-f", "-", given=WIDGET)
    status = '{"status": {"phase": "Up", "conditions": [{"type": "Ready", "status": "True"}]}}'
    await says(kubectl, "patched", "patch", "widget", "a", "--subresource=status", "--type=merge", "-p", status)
    await says(kubectl, "condition met", "wait", "widget/a", "--for=condition=Ready", "--timeout=20s")
    await says(kubectl, "condition met", "wait", "widget/a", "--for=jsonpath={.status.phase}=Up", "--timeout=20s")
    late = ("wait", "widget/a", "--for=jsonpath={.status.phase}=Down", "--timeout=1s")
    await says(kubectl, "timed out waiting for the condition", *late, code=1)
    deletion = asyncio.create_task(kubectl("wait", "widget/a", "--for=delete", "--timeout=20s"))
    await says(kubectl, "deleted", "delete", "widget", "a")
    assert (await deletion)[0] in {0, 1}  # 1 where it was gone before the wait began


async def test_explain_reads_the_published_schema(kubectl: Kubectl):
    output = await says(kubectl, "A widget, for tests.", "explain", "widget")
    assert f"GROUP:      {GROUP}" in output
    await says(kubectl, "FIELD: port <integer>", "explain", "widget.spec.listeners.port")
    await says(kubectl, 'field "absent" does not exist', "explain", "widget.spec.absent", code=1)


@pytest.mark.parametrize("words", [("widget", "a"), ("widgets", "-l", "app=a")])
async def test_describe_tells_all(kubectl: Kubectl, words):
    await says(kubectl, "created", "apply", "-f", "-", given=WIDGET)
    output = await says(kubectl, "Size:", "describe", *words)
    assert "Color:" in output


async def test_patches_of_each_kind(kubectl: Kubectl):
    await says(kubectl, "created", "apply", "-f", "-", given=WIDGET)
    await says(kubectl, "patched", "patch", "widget", "a", "--type=merge", "-p", '{"spec": {"size": 9}}')
    operations = '[{"op": "replace", "path": "/spec/size", "value": 10}]'
    await says(kubectl, "patched", "patch", "widget", "a", "--type=json", "-p", operations)
    await says(kubectl, "10", "get", "widget", "a", "-o", "jsonpath={.spec.size}")
    await says(kubectl, "created", "create", "configmap", "c", "--from-literal=k=v")
    await says(kubectl, "patched", "patch", "configmap", "c", "-p", '{"data": {"k": "w"}}')
    await says(kubectl, "w", "get", "configmap", "c", "-o", "jsonpath={.data.k}")


async def test_label_annotate_scale_edit_in_place(workloads: Kubectl):
    await says(workloads, "created", "apply", "-f", "-", given=DEPLOYMENT)
    await says(workloads, "labeled", "label", "deployment", "web", "x=y")
    await says(workloads, "annotated", "annotate", "deployment", "web", "note=seen")
    await says(workloads, "scaled", "scale", "deployment", "web", "--replicas=5")
    await says(workloads, "5", "get", "deployment", "web", "-o", "jsonpath={.spec.replicas}")
    await says(workloads, "scaled", "scale", "deployment", "web", "--current-replicas=5", "--replicas=1")
    await says(
        workloads, "Expected replicas", "scale", "deployment", "web", "--current-replicas=5", "--replicas=2", code=1
    )


async def test_a_widget_is_scaled_like_any_workload(kubectl: Kubectl):
    await says(kubectl, "created", "apply", "-f", "-", given=WIDGET)
    await says(kubectl, "scaled", "scale", "widget", "a", "--replicas=4")
    await says(kubectl, "4", "get", "widget", "a", "-o", "jsonpath={.spec.replicas}")


async def test_replace_and_create_by_prefix(kubectl: Kubectl):
    await says(kubectl, "created", "create", "-f", "-", given=WIDGET)
    await says(kubectl, "AlreadyExists", "create", "-f", "-", code=1, given=WIDGET)
    await says(kubectl, "replaced", "replace", "-f", "-", given=WIDGET.replace("size: 7", "size: 8"))
    await says(kubectl, "created", "create", "-f", "-", given=WIDGET.replace("name: a", "generateName: a-"))


async def test_mistakes_are_refused_by_the_server(kubectl: Kubectl):
    await says(kubectl, 'unknown field "spec.odd"', "apply", "-f", "-", code=1, given=WIDGET.replace("size", "odd"))
    await says(kubectl, "spec.size", "apply", "-f", "-", code=1, given=WIDGET.replace("size: 7", "size: 700"))
    await says(kubectl, "dry run", "apply", "--dry-run=server", "-f", "-", given=WIDGET)
    await says(kubectl, "NotFound", "get", "widget", "a", code=1)


async def test_api_resources_and_versions(kubectl: Kubectl):
    output = await says(kubectl, "widgets", "api-resources", "--api-group", GROUP)
    assert output.splitlines()[1].split() == ["widgets", "wd", f"{GROUP}/v1", "true", "Widget"]
    await says(kubectl, f"{GROUP}/v1beta1", "api-versions")
    await says(kubectl, "Server Version", "version")


async def test_auth_can_i_and_whoami(api: Api, kubectl: Kubectl):
    await says(kubectl, "yes", "auth", "can-i", "delete", "widgets")
    await says(kubectl, "admin" if api.backend.stranger else "", "auth", "whoami")
    if api.backend.stranger:
        code, output = await kubectl("auth", "can-i", "delete", "widgets", kubeconfig=api.backend.stranger)
        assert (code, output.startswith("no")) == (1, True)  # some say why
        code, output = await kubectl("get", "widgets", kubeconfig=api.backend.stranger)
        assert (code, "Forbidden" in output) == (1, True)


async def test_namespaces_and_accounts_are_made_by_typed_commands(api: Api, kubectl: Kubectl):
    other = f"{api.namespace}-other"
    await says(kubectl, f"namespace/{other} created", "create", "namespace", other)
    await says(kubectl, "created", "create", "serviceaccount", "robot")
    await says(kubectl, "created", "create", "role", "r", "--verb=get", "--resource=configmaps")
    await says(kubectl, "created", "create", "rolebinding", "r", "--role=r", f"--serviceaccount={api.namespace}:robot")
    await says(kubectl, "created", "create", "secret", "generic", "s", "--from-literal=k=v")
    await says(kubectl, "deleted", "delete", "namespace", other)
