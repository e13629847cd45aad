"""`moorage install kcp`, `bind` and `uninstall kcp` as users run them, on the sandbox and on a real kcp."""

import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from services.cli.hub.objects import EXPORTS, SCHEMAS
from shared.api import GROUP, decode_placement
from shared.api.generate.claims import CLAIMS, claimable
from shared.hub.access import open_access
from shared.hub.hub import Hub as HubOf
from shared.hub.names import REQUESTER_ANNOTATION
from shared.hub.requester import requester_of
from shared.hub.resources import APIBINDINGS, DECISIONS, PLACEMENTS, SYNCTARGETS, WORKSPACES
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.impersonation import Impersonated
from shared.kube.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, SUBJECTACCESSREVIEWS
from shared.model.request import Permission, Requester
from shared.process.settings import AccessSettings
from tests.conformance.api import until
from tests.conformance.backends import BACKENDS, KCP, STRANGER, Backend, NotHere
from tests.e2e.pages import ROOT
from tests.support.grants import ACCESS, PLACING, USING, grant
from tests.support.kcp import add_workspace
from tests.support.manifests import obj, placement
from tests.support.process import process

WITHIN = 150.0  # seconds for a command on a busy machine

pytestmark = pytest.mark.timeout(4 * WITHIN)


class Hub:
    """A kcp, and the command line to prepare it with."""

    def __init__(self, backend: Backend, client: Client) -> None:
        self.backend = backend
        self.root = client.cluster("root")
        # The sandbox has no admission policies: what they do, it does by itself.
        self.without = ["--without-admission"] if backend.name == "sandbox" else []

    def at(self, workspace: str) -> Client:
        return self.root.cluster(workspace)

    async def run(self, *words: str, kubeconfig: Path | None = None) -> tuple[int, str]:
        command = ["moorage", *words, "--kubeconfig", str(kubeconfig or self.backend.admin)]
        async with process(command, os.environ) as running:
            return await running.ends(WITHIN), running.output

    async def succeeds(self, *words: str) -> str:
        code, output = await self.run(*words)
        assert code == 0, output
        return output

    async def install(self, *more: str) -> str:
        return await self.succeeds("install", "kcp", *self.without, *more)


@pytest.fixture(scope="module", params=["sandbox", KCP])
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with ExitStack() as stack:
        try:
            found = stack.enter_context(BACKENDS[request.param](tmp_path_factory.mktemp(request.param)))
        except NotHere as reason:
            pytest.skip(str(reason))
        yield found


@pytest.fixture
async def hub(backend: Backend) -> AsyncIterator[Hub]:
    async with Client(load_kubeconfig(backend.admin), timeout=30) as client:
        yield Hub(backend, client)


def outcomes(output: str) -> set[str]:
    return {line.rpartition(" ")[2] for line in output.splitlines() if not line.startswith("moorage: ")}


async def test_a_kcp_is_prepared_once_used_by_who_may_and_given_back(hub: Hub):
    first = await hub.install()
    assert "workspace root:moorage created" in first
    assert f"apiexport.apis.kcp.io/{GROUP} created" in first
    assert "--claims-from" in first, "what is not claimed is told"
    assert outcomes(await hub.install()) == {"unchanged"}

    await add_workspace(hub.root, "team")
    bound = await hub.succeeds("bind", "--workspace", "root:team", "--accept", "events")
    assert "rejected secrets (get, list, watch)" in bound
    assert "accepted events (create, patch)" in bound
    for claim in claimable({}):
        assert claim.why in bound
    again = await hub.succeeds("bind", "--workspace", "root:team", "--accept", "events")
    assert [line for line in again.splitlines() if line.endswith((" created", " configured"))] == []
    team = hub.at("root:team")
    answers = {
        each["resource"]: each["state"] for each in (await team.get(APIBINDINGS, GROUP))["spec"]["permissionClaims"]
    }
    assert {resource for resource, state in answers.items() if state == "Accepted"} == {"events"}
    assert set(answers) == {each.resource for each in claimable({})}, "each is answered"

    async def served() -> bool:
        made = await team.create(PLACEMENTS, placement("web", namespace="default"), dry_run=True)
        return REQUESTER_ANNOTATION in made["metadata"].get("annotations", {})

    await until(served, "who asks for a Placement is recorded")
    code, output = await hub.run("uninstall", "kcp")
    assert (code, "1 workspaces have bound it (root:team)" in output) == (1, True), output
    await team.delete(APIBINDINGS, GROUP)

    async def unused() -> bool:
        return (await hub.run("uninstall", "kcp"))[0] == 0

    await until(unused, "it is taken back")
    assert await hub.succeeds("uninstall", "kcp") == (
        "left as it is: workspace root:moorage; what was placed in target clusters"
    )
    assert "created" in await hub.install()
    await hub.succeeds("uninstall", "kcp")


async def test_who_may_bind_is_said_by_group(hub: Hub):
    await hub.install("--provider", "root:platform:moorage")
    await add_workspace(hub.root, "guests")
    everything = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["*"]}]
    await grant(hub.at("root:guests"), STRANGER, *everything, ACCESS)
    words = ("bind", "--workspace", "root:guests", "--provider", "root:platform:moorage")
    assert hub.backend.stranger is not None
    code, output = await hub.run(*words, kubeconfig=hub.backend.stranger)
    assert (code, "no permission to bind" in output) == (1, True), output
    await hub.install("--provider", "root:platform:moorage", "--allow-bind-group", "strangers")
    code, output = await hub.run(*words, kubeconfig=hub.backend.stranger)
    assert code == 0, output


async def test_nobody_but_its_worker_may_write_what_moorage_writes_whatever_a_workspace_allows(hub: Hub):
    await hub.install("--provider", "root:bounded")
    await add_workspace(hub.root, "admins")
    workspace = hub.at("root:admins")
    await hub.succeeds("bind", "--workspace", "root:admins", "--provider", "root:bounded")
    await grant(workspace, STRANGER, ACCESS, PLACING)

    async def may(
        verb: str, resource, subresource: str = "", user: str = STRANGER, groups: tuple[str, ...] = ()
    ) -> bool:
        attributes = {"verb": verb, "group": GROUP, "resource": resource.plural, "subresource": subresource}
        spec = {"user": user, "groups": ["system:authenticated", *groups], "resourceAttributes": attributes}
        body = obj("SubjectAccessReview", SUBJECTACCESSREVIEWS.api_version, name="", namespace="", spec=spec)
        return bool((await workspace.create(SUBJECTACCESSREVIEWS, body))["status"]["allowed"])

    await until(lambda: may("create", PLACEMENTS), "the workspace's administrator may place")
    assert await may("use", SYNCTARGETS)
    assert await may("update", SYNCTARGETS, "status")
    assert await may("delete", DECISIONS)
    assert not await may("update", DECISIONS)
    assert not await may("update", PLACEMENTS, "status")
    worker = {"user": "d", "groups": ("moorage:decision",)}
    await until(lambda: may("update", DECISIONS, **worker), "decision may write decisions")
    assert not await may("update", PLACEMENTS, "status", **worker)
    assert await may("update", PLACEMENTS, "status", user="s", groups=("moorage:status",))


EVERYTHING = ({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["*"]})
OWNERS = "owners"
ACCOUNT = ("ci", "deployer")


class Victim:
    """A workspace whose targets the group `owners` and its own account ci:deployer may use, and one that a stranger is
    administrator of: whoever is named so may do anything there."""

    def __init__(self, hub: Hub, stranger: Client) -> None:
        self._hub = hub
        self.stranger = stranger

    async def recorded(self, client: Client, **annotations: str) -> Requester:
        """Whom the hub records for a Placement that somebody writes in the stranger's workspace."""
        body = placement("web", namespace="default")
        body["metadata"]["annotations"] = annotations
        found = requester_of(decode_placement(await client.create(PLACEMENTS, body, dry_run=True)))
        assert found is not None
        return found

    async def permission(self, requester: Requester) -> Permission:
        """What workers are told of this requester and a target there."""
        async with open_access(HubOf(self._hub.root, "kcp"), AccessSettings(), time.time) as access:
            return (await access.may_use(requester, ["root:victim/east"]))["root:victim/east"]


@pytest.fixture
async def victim(hub: Hub) -> AsyncIterator[Victim]:
    for name in ("victim", "mallory"):
        if not any(each["metadata"]["name"] == name for each in (await hub.root.list(WORKSPACES)).items):
            await hub.install("--provider", "root:guarded")
            await add_workspace(hub.root, name)
            await hub.succeeds("bind", "--workspace", f"root:{name}", "--provider", "root:guarded")
            subjects = [{"kind": "Group", "name": OWNERS}]
            subjects += [{"kind": "User", "name": STRANGER}] if name == "mallory" else []
            rules = (ACCESS, USING) if name == "victim" else EVERYTHING
            account = {"kind": "ServiceAccount", "namespace": ACCOUNT[0], "name": ACCOUNT[1]}
            await grant_to(hub.at(f"root:{name}"), [*subjects, account], *rules)
    assert hub.backend.stranger is not None
    async with Client(load_kubeconfig(hub.backend.stranger), timeout=30) as client:
        found = Victim(hub, client.cluster("root:mallory"))
        owner = Requester(username="olga", groups=(OWNERS, "system:authenticated"))
        await until(lambda: found.permission(owner), "an owner may use it", holds=lambda each: each == "Allowed")
        await until(lambda: answered(found.recorded(client.cluster("root:mallory"))), "the stranger may place")
        yield found


async def answered(asked: Awaitable[Requester]) -> bool:
    try:
        await asked
    except ApiError as error:
        if not error.forbidden:
            raise
        return False
    return True


async def grant_to(client: Client, subjects: list[dict[str, str]], *rules: dict) -> None:
    role = obj("ClusterRole", CLUSTERROLES.api_version, name="granted", namespace="", rules=list(rules))
    await client.create(CLUSTERROLES, role)
    ref = {"apiGroup": CLUSTERROLES.group, "kind": "ClusterRole", "name": "granted"}
    binding = obj("ClusterRoleBinding", CLUSTERROLES.api_version, name="granted", namespace="", roleRef=ref)
    whole = [{"apiGroup": CLUSTERROLES.group, **each} if "namespace" not in each else each for each in subjects]
    await client.create(CLUSTERROLEBINDINGS, {**binding, "subjects": whole})


async def test_on_kcp_nobody_writes_on_whose_behalf_a_placement_is(victim: Victim):
    forged = json.dumps({"username": "olga", "uid": "", "groups": [OWNERS], "extra": {}})
    try:
        found = await victim.recorded(victim.stranger, **{REQUESTER_ANNOTATION: forged})
    except ApiError as error:
        assert error.forbidden  # noqa: PT017 - either answer will do
    else:
        assert found.username == STRANGER
        assert await victim.permission(found) == "NoAccess"


async def test_on_kcp_who_acts_as_an_owner_in_its_own_workspace_is_no_owner_elsewhere(victim: Victim):
    owner = Impersonated(username="olga", groups=(OWNERS,))
    found = await victim.recorded(victim.stranger.acting_as(owner))
    assert found.username == "olga"
    assert OWNERS in found.groups
    assert await victim.permission(found) == "NoAccess"


async def test_on_kcp_an_account_of_one_workspace_is_not_that_of_another(victim: Victim):
    account = Impersonated(username=":".join(("system:serviceaccount", *ACCOUNT)))
    found = await victim.recorded(victim.stranger.acting_as(account))
    assert found.username == account.username
    assert await victim.permission(found) == "NoAccess"


async def deployments_are_had(hub: Hub) -> str:
    """One workspace offers Deployments, and another has them by it; the identity under which it does."""
    for name in ("compute", "tenant"):
        await add_workspace(hub.root, name)
    content = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    names = {"plural": "deployments", "singular": "deployment", "kind": "Deployment", "listKind": "DeploymentList"}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": content}]
    spec = {"group": "apps", "scope": "Namespaced", "names": names, "versions": versions}
    schema = obj("APIResourceSchema", SCHEMAS.api_version, name="v1.deployments.apps", namespace="", spec=spec)
    await hub.at("root:compute").create(SCHEMAS, schema)
    resource = {"group": "apps", "name": "deployments", "schema": "v1.deployments.apps", "storage": {"crd": {}}}
    export = obj("APIExport", EXPORTS.api_version, name="compute", namespace="", spec={"resources": [resource]})
    await hub.at("root:compute").create(EXPORTS, export)
    spec = {"reference": {"export": {"path": "root:compute", "name": "compute"}}}
    tenant = hub.at("root:tenant")
    await tenant.apply(
        APIBINDINGS,
        obj("APIBinding", APIBINDINGS.api_version, name="compute", namespace="", spec=spec),
        field_manager="t",
    )

    async def identity() -> str:
        bound = (await tenant.get(APIBINDINGS, "compute")).get("status", {}).get("boundResources") or []
        return bound[0]["schema"]["identityHash"] if bound else ""

    return str(await until(identity, "Deployments are bound"))


async def test_what_kcp_does_not_build_in_is_claimed_under_the_identity_of_who_offers_it(hub: Hub):
    identity = await deployments_are_had(hub)
    output = await hub.install("--provider", "root:claiming", "--claims-from", "root:tenant", "-o", "yaml")
    (export,) = [
        each for each in yaml.safe_load_all(output.partition("---")[2]) if each and each["kind"] == "APIExport"
    ]
    (claim,) = [each for each in export["spec"]["permissionClaims"] if each["resource"] == "deployments"]
    assert claim["identityHash"] == identity
    assert len(export["spec"]["permissionClaims"]) == len(claimable({})) + 1 < len(CLAIMS)


def test_the_page_on_kcp_has_every_claim_with_what_it_is_for():
    rows = [
        f"| {each.name} | {', '.join(each.verbs)} | {each.why} | {'' if each.built_in else 'yes'} |" for each in CLAIMS
    ]
    assert "\n".join(rows) in (ROOT / "docs" / "kcp.md").read_text()


async def test_a_dry_run_prints_what_kubectl_takes_and_needs_no_server():
    for words, kinds in (
        (["install", "kcp"], {"APIExport", "APIResourceSchema", "ValidatingAdmissionPolicy", "ClusterRole"}),
        (["bind"], {"APIBinding", "ClusterRole", "ClusterRoleBinding"}),
    ):
        async with process(["moorage", *words, "--dry-run"], {**os.environ, "KUBECONFIG": "/nonexistent"}) as printing:
            assert await printing.ends() == 0
        printed = "\n".join(line for line in printing.lines if not line.startswith("moorage: "))
        assert kinds <= {each["kind"] for each in yaml.safe_load_all(printed)}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["bind", "--accept", "pods"], "there is no claim pods"),
        (["bind", "--provider", "Root"], "is not a workspace path"),
        (["install", "kcp", "--provider", "a/b"], "is not a workspace path"),
    ],
)
async def test_what_is_no_workspace_or_claim_is_refused(words: list[str], why: str):
    async with process(["moorage", *words], os.environ) as running:
        assert await running.ends() == 2
    assert why in running.output
