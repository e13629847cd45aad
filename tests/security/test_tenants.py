"""Rules 1, 3 and 4: what is read back is data, whoever asks does so with all that is known of them, and nobody's
targets attract strangers. What the API server refuses is in test_admission.py."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from services.binding.binder import Binder
from services.binding.settings import BindingSettings
from services.binding.worker import open_binding
from services.decision.rebuild import MARKER
from services.decision.settings import DecisionSettings
from services.decision.worker import open_decision
from shared.api import PlacementPolicySpec, PlacementSpec
from shared.broker.bus import Retry
from shared.broker.memory.bus import MemoryBus
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.hub.names import REQUESTER_ANNOTATION
from shared.hub.resources import SYNCTARGETS
from shared.kube.resources import CLUSTERROLEBINDINGS, CLUSTERROLES
from shared.model.decision import Choice, Proposal, Reservation
from shared.model.policy import PolicyEntry
from shared.model.refs import Head, PlacementRef
from shared.model.request import Cause, Request, Requester
from shared.model.target import Target
from shared.pipeline import topology
from shared.pipeline.buckets import BINDING_COPIES, INVENTORY, POLICIES, RESERVATIONS
from shared.pipeline.messages import Assigned, Decided, Scheduled
from shared.pipeline.runtime import Runtime
from shared.process import audit
from tests.support import discovery
from tests.support import scene as scenes
from tests.support.actors import MERGE, Actor
from tests.support.manifests import condition, deployment, placement
from tests.support.perimeter import SETTINGS
from tests.support.scene import PLATFORM, TEAM, Scene

RBAC = "rbac.authorization.k8s.io"
PLACEMENTS = "/apis/placement.moorage.io/v1alpha1/namespaces/shop/placements"
WORKLOADS = "/apis/apps/v1/namespaces/shop/deployments"
REF = PlacementRef(workspace=TEAM, namespace="shop", name="web")
EAST = f"{PLATFORM}/east"
USE = {"apiGroups": [SYNCTARGETS.group], "resources": [SYNCTARGETS.plural], "verbs": ["use"]}
EVERYTHING = ({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["*"]})
ENTER = {"nonResourceURLs": ["/"], "verbs": ["access"]}


def subject(kind: str, name: str) -> dict[str, str]:
    """A user or a group, or a ServiceAccount as `namespace:name`."""
    if kind == "ServiceAccount":
        namespace, _, account = name.partition(":")
        return {"kind": kind, "namespace": namespace, "name": account}
    return {"kind": kind, "name": name, "apiGroup": RBAC}


async def grant(hub: Any, workspace: str, role: str, *subjects: dict[str, str], rules: tuple[Any, ...] = ()) -> None:
    """Bind a ClusterRole, made of `rules` where there are some, in a workspace."""
    head, client = {"apiVersion": f"{RBAC}/v1", "metadata": {"name": role}}, hub.cluster(workspace)
    if rules:
        await client.apply(CLUSTERROLES, {**head, "kind": "ClusterRole", "rules": list(rules)}, force=True)
    ref = {"kind": "ClusterRole", "name": role, "apiGroup": RBAC}
    await client.apply(
        CLUSTERROLEBINDINGS,
        {**head, "kind": "ClusterRoleBinding", "roleRef": ref, "subjects": list(subjects)},
        force=True,
    )


class Land:
    """A scene in which alice and mallory are administrators of their team's workspace, and a binding worker."""

    def __init__(self, scene: Scene, binder: Binder, session: aiohttp.ClientSession) -> None:
        self.scene = scene
        self.binder = binder
        self.session = session

    def actor(self, token: str, workspace: str = TEAM) -> Actor:
        server = {"clusters": [{"cluster": {"server": self.scene.ready.url}}]}
        kubeconfig = {**server, "users": [{"user": {"token": token}}]}
        return Actor(self.session, kubeconfig, workspace)

    def user(self, name: str, workspace: str = TEAM) -> Actor:
        return self.actor(self.scene.ready.sandbox.add_user(name), workspace)

    async def may_use(self, *subjects: dict[str, str]) -> None:
        """From now on these alone may use the platform's targets."""
        await grant(self.scene.hub, PLATFORM, "use", *subjects, rules=(USE, ENTER))
        self.scene.ahead += 1000.0  # what was remembered has run out

    async def bind(self) -> str:
        """Have the placement decided for east by hand, and bound; the reason of PermissionGranted where it is not."""
        head = await self.scene.decide(REF, "east")
        try:
            await self.binder.bind(self.scene.assigned(REF, head))
        except Retry:
            binding = await self.scene.binding(REF)
            assert binding is not None
            found = condition(binding["status"], "PermissionGranted")
            assert found["status"] == "False"
            return str(found["reason"])
        return ""


@pytest.fixture
async def land(tmp_path: Path) -> AsyncIterator[Land]:
    async with (
        scenes.opened(tmp_path) as scene,
        aiohttp.ClientSession() as session,
        asyncio.TaskGroup() as tasks,
    ):
        await grant(scene.hub, TEAM, "cluster-admin", *(subject("User", name) for name in ("alice", "mallory")))
        bus = MemoryBus()
        await bus.provision(topology.streams(), ())
        settings = BindingSettings(kubeconfig=str(scene.ready.kubeconfigs["admin"]), hub="kcp", **SETTINGS)
        runtime = Runtime(settings, bus, scene.store, tasks, clock=scene.clock)
        await runtime.join(BINDING_COPIES)
        async with open_binding(runtime) as binding:
            yield Land(scene, binding.binder, session)
        await runtime.end()
        await bus.close()


async def place(actor: Actor) -> dict[str, Any]:
    """The workload and its Placement; the requester that was recorded."""
    await actor.ok("POST", WORKLOADS, deployment())
    made = await actor.ok("POST", PLACEMENTS, placement())
    return dict(json.loads(made["metadata"]["annotations"][REQUESTER_ANNOTATION]))


async def test_a_tenant_that_selects_a_target_by_hand_has_nothing_applied_there(land: Land, caplog: Any) -> None:
    """The guard at the API server taken away: the decision says what it should not."""
    await place(land.user("alice"))
    refusals = audit.refusals["NotAuthorized"]
    assert await land.bind() == "NotAuthorized"
    assert await land.scene.managed() == set()
    assert audit.refusals["NotAuthorized"] == refusals + 1
    (line,) = (record for record in caplog.records if record.name == "moorage.audit")
    assert (line.requester, line.placement, line.target) == ("alice", str(REF), EAST)


async def test_a_tenant_that_may_use_the_target_has_it_applied(land: Land) -> None:
    await land.may_use(subject("User", "alice"))
    await place(land.user("alice"))
    assert await land.bind() == ""
    assert await land.scene.in_target() is not None


async def test_a_right_that_is_taken_away_leaves_what_runs_and_applies_nothing_more(land: Land) -> None:
    alice = land.user("alice")
    await land.may_use(subject("User", "alice"))
    await place(alice)
    assert await land.bind() == ""
    await land.may_use(subject("User", "somebody"))
    await alice.ok("PATCH", f"{WORKLOADS}/web", {"spec": {"replicas": 7}}, MERGE)
    assert await land.bind() == "NotAuthorized"
    found = await land.scene.in_target()
    assert found is not None
    assert found["spec"]["replicas"] == 1


async def test_somebody_without_rights_who_writes_into_anothers_placement_has_nothing_applied(land: Land) -> None:
    await land.may_use(subject("User", "alice"))
    await place(land.user("alice"))
    assert await land.bind() == ""
    mallory = land.user("mallory")
    await mallory.ok("POST", WORKLOADS, deployment("evil"))
    evil = {"spec": {"workload": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "evil"}]}}
    await mallory.ok("PATCH", f"{PLACEMENTS}/web", evil, MERGE)
    assert await land.bind() == "NotAuthorized"
    assert await land.scene.managed() == {"Deployment web"}


async def test_a_placement_whose_requester_nobody_recorded_is_authorized_for_nothing(land: Land) -> None:
    await land.may_use(subject("Group", "system:authenticated"))
    await place(land.user("alice"))
    land.scene.ready.sandbox.registry._admit = lambda *_: None  # a hub without admission
    forged = {"metadata": {"annotations": {REQUESTER_ANNOTATION: '{"username":"alice"'}}}
    await land.user("alice").ok("PATCH", f"{PLACEMENTS}/web", forged, MERGE)
    assert await land.bind() == "NotAuthorized"
    assert await land.scene.managed() == set()


@pytest.mark.parametrize(
    ("who", "headers"),
    [
        ("tess", {}),
        ("nobody", {"Impersonate_Group": ["rich"]}),
        ("tess", {"Impersonate_Group": ["system:authenticated"], "Impersonate_Uid": ["1"]}),
    ],
    ids=["as a user", "as a member of a group", "with a uid"],
)
async def test_a_tenant_that_acts_as_somebody_who_may_use_the_target_gets_nothing(
    land: Land, who: str, headers: dict[str, list[str]]
) -> None:
    await land.may_use(subject("User", "tess"), subject("Group", "rich"))
    await grant(land.scene.hub, TEAM, "everything", subject("User", "tess"), subject("Group", "rich"), rules=EVERYTHING)
    recorded = await place(land.user("alice").acting(who, **headers))
    assert recorded["username"] == who
    assert recorded["extra"]["authentication.kcp.io/scopes"]
    assert await land.bind() == "NotAuthorized"
    assert await land.scene.managed() == set()


async def test_a_tenant_that_names_a_scope_of_its_own_for_whom_it_acts_as_is_nobody(land: Land) -> None:
    everywhere = f"cluster:{land.scene.ready.sandbox.clusters.find(PLATFORM).id}"
    await grant(land.scene.hub, TEAM, "everything", subject("User", "tess"), rules=EVERYTHING)
    scoped = {"Impersonate_Extra_authentication.kcp.io%2fscopes": [everywhere]}
    said = await land.user("alice").acting("tess", **scoped).refused("POST", PLACEMENTS, placement())
    assert "cannot create" in said


async def test_a_tenant_cannot_act_as_an_administrator_of_all_workspaces(land: Land) -> None:
    for group in ("system:masters", "system:kcp:admin"):
        acting = land.user("alice").acting("alice", Impersonate_Group=[group])
        assert "cannot impersonate" in await acting.refused("POST", PLACEMENTS, placement())


@pytest.mark.parametrize("worker", ["decision", "binding", "status"])
async def test_a_tenant_that_acts_as_a_worker_of_moorage_decides_nothing(land: Land, worker: str) -> None:
    await place(land.user("alice"))
    account = f"system:serviceaccount:moorage-system:{worker}"
    sandbox = land.scene.ready.sandbox
    by_hand = land.user("alice").acting(account, Impersonate_Group=[f"moorage:{worker}"])
    await grant(land.scene.hub, TEAM, "worker", subject("ServiceAccount", f"moorage-system:{worker}"), rules=EVERYTHING)
    of_its_own = land.actor(sandbox.add_service_account(TEAM, "moorage-system", worker))
    await land.scene.decide(REF, "east")
    for path in (f"{PLACEMENTS.replace('placements', 'placementdecisions')}/web", f"{PLACEMENTS}/web/status"):
        for actor in (by_hand, of_its_own):
            said = await actor.refused("PATCH", path, {"status": {"attempt": 99}}, MERGE)
            assert "written by Moorage alone" in said


async def test_a_service_account_of_another_workspace_is_not_the_one_of_that_name(land: Land) -> None:
    await land.may_use(subject("ServiceAccount", "ci:deployer"))  # the platform's own
    await grant(land.scene.hub, TEAM, "everything", subject("ServiceAccount", "ci:deployer"), rules=EVERYTHING)
    recorded = await place(land.actor(land.scene.ready.sandbox.add_service_account(TEAM, "ci", "deployer")))
    assert recorded["username"] == "system:serviceaccount:ci:deployer"
    assert await land.bind() == "NotAuthorized"
    assert await land.scene.managed() == set()


# --- decision ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def deciding(scene: Scene) -> AsyncIterator[Any]:
    await Table(scene.store, RESERVATIONS).put(
        MARKER,
        Reservation(placement=REF, head=Head(uid="", generation=0, attempt=0), resources={}),
    )
    entry = await Table(scene.store, INVENTORY).get(join(PLATFORM, "east"))
    assert entry is not None
    roomy = msgspec.structs.replace(entry.value, allocatable={"cpu": 8.0})
    await Table[Target](scene.store, INVENTORY).put(join(PLATFORM, "east"), roomy)
    async with asyncio.TaskGroup() as tasks:
        settings = DecisionSettings(kubeconfig=str(scene.ready.kubeconfigs["admin"]), hub="kcp")
        bus = MemoryBus()
        await bus.provision(topology.streams(), ())
        runtime = Runtime(settings, bus, scene.store, tasks, clock=scene.clock)
        async with open_decision(runtime) as decider:
            yield decider
        await runtime.end()


def scheduled(uid: str, requester: Requester | None, *, attempt: int = 1, selected: bool = True) -> Scheduled:
    request = Request(
        placement=REF,
        head=Head(uid=uid, generation=1, attempt=attempt),
        cause=Cause(code="Created"),
        spec=msgspec.convert(placement()["spec"], PlacementSpec),
        requester=requester,
    )
    choices = (Choice(target=EAST, score=50.0, reserve={"cpu": 1.0}),) if selected else ()
    proposal = Proposal(strategy="BestFit", selected=choices, feasible=1)
    return Scheduled(request=request, proposal=proposal, inventory_revision=0)


async def made(land: Land) -> str:
    await place(land.user("alice"))
    found = await land.user("alice").ok("GET", f"{PLACEMENTS}/web")
    return str(found["metadata"]["uid"])


@pytest.mark.parametrize("requester", [Requester(username="alice"), None], ids=["without rights", "nobody"])
async def test_what_is_proposed_to_somebody_without_rights_is_neither_reserved_nor_assigned(
    land: Land, requester: Requester | None
) -> None:
    uid = await made(land)
    async with deciding(land.scene) as decider:
        told = await decider.decide(scheduled(uid, requester))
        assert [type(each) for each in told] == [Decided]
        assert told[0].refusal.code == "NotAuthorized"
        assert decider.ledger.held(REF) == {}


async def test_a_selection_that_was_written_by_hand_is_not_assigned(land: Land) -> None:
    """As much as the same attempt, delivered once more, would tell binding of what was decided."""
    uid = await made(land)
    async with deciding(land.scene) as decider:
        head = await land.scene.decide(REF, "east")
        for attempt in (head.attempt, head.attempt + 1):
            told = await decider.decide(scheduled(uid, Requester(username="alice"), attempt=attempt))
            assert [each for each in told if isinstance(each, Assigned)] == []


async def test_somebody_with_rights_is_assigned_and_asked_about_once(land: Land) -> None:
    uid = await made(land)
    await land.may_use(subject("User", "alice"))
    async with deciding(land.scene) as decider:
        seen = land.scene.count_requests(PLATFORM)
        told = await decider.decide(scheduled(uid, Requester(username="alice")))
        assert [each.target for each in told if isinstance(each, Assigned)] == [EAST]
        await decider.decide(scheduled(uid, Requester(username="alice"), attempt=2))
        assert [each for each in seen if "subjectaccessreviews" in each] == seen[:1]


# --- providers --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[discovery.Scene]:
    """A stranger offers a target to whoever comes, in a workspace that is nobody's ancestor."""
    async with discovery.opened(tmp_path) as scene:
        await scene.define("root:empty")
        await scene.offer("root:empty", "west")
        await grant(scene.hub, "root:empty", "use", subject("User", "tess"), rules=(USE, ENTER))
        yield scene


def names(workspace: str, provider: str) -> tuple[str, PolicyEntry]:
    spec = PlacementPolicySpec(providers=(provider,))
    return join(workspace, "p"), PolicyEntry(workspace=workspace, name="p", spec=spec)


async def test_a_strangers_target_attracts_nobody_and_the_refusal_says_what_would_name_it(
    market: discovery.Scene,
) -> None:
    async with market.running():
        await market.ready("root:empty", "west")
        found = await market.place()
        assert found.targets == ()
        (rejection,) = found.rejections
        assert (rejection.reason, rejection.count) == ("ProviderNotTrusted", 1)
        assert "spec.targets.workspaces" in rejection.message
        assert "trusted_providers" in rejection.message
        assert "root:empty" not in rejection.message


async def test_a_stranger_that_names_itself_in_a_policy_of_its_own_attracts_nobody(market: discovery.Scene) -> None:
    for workspace in ("root:empty", "root:team:sub"):
        await Table(market.store, POLICIES).put(*names(workspace, "root:empty"))
    async with market.running():
        await market.ready("root:empty", "west")
        assert (await market.place()).targets == ()


@pytest.mark.parametrize("workspace", ["root:team", "root"])
async def test_a_policy_of_the_workspace_or_an_ancestor_names_providers(
    market: discovery.Scene, workspace: str
) -> None:
    await Table(market.store, POLICIES).put(*names(workspace, "root:empty"))
    async with market.running():
        await market.ready("root:empty", "west")
        assert (await market.place()).targets == ("root:empty/west",)


async def test_the_operator_names_providers(market: discovery.Scene) -> None:
    async with market.running(trusted_providers="root:other, root:empty"):
        await market.ready("root:empty", "west")
        assert (await market.place()).targets == ("root:empty/west",)
