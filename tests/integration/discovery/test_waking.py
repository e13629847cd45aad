"""A placement that waits for a right, with discovery and controller at work; what decides is played by the test."""

import asyncio
import contextlib

from services.controller.worker import worker as controller
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.hub.resources import PLACEMENTS, SYNCTARGETS
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, CONFIGMAPS, CRDS, NAMESPACES
from shared.model.decision import Refusal
from shared.pipeline.buckets import HEADS, WAITING, WORKSPACES
from shared.pipeline.messages import Decided, encode
from tests.support.scene import PLATFORM, TEAM, definitions
from tests.support.waiting import until

BOUND = 30.0  # seconds; without a word it would be an hour
PATIENT = {
    "waiting_initial_seconds": 3600.0,
    "waiting_max_seconds": 3600.0,
    "resync_seconds": 3600.0,
    "sweep_seconds": 0.05,
}


async def may_use(scene, user):
    """Let a user use the targets of the platform."""
    client = scene.hub.cluster(PLATFORM)
    kinds = {"apiGroups": [SYNCTARGETS.group], "resources": [SYNCTARGETS.plural]}
    group, named = CLUSTERROLES.group, {"metadata": {"name": "use"}}
    role = {"apiVersion": CLUSTERROLES.api_version, "kind": "ClusterRole", **named}
    await client.create(CLUSTERROLES, {**role, "rules": [{"verbs": ["use"], **kinds}]})
    binding = {"apiVersion": CLUSTERROLEBINDINGS.api_version, "kind": "ClusterRoleBinding", **named}
    reference = {"apiGroup": group, "kind": "ClusterRole", "name": "use"}
    subjects = [{"kind": "User", "name": user, "apiGroup": group}]
    await client.create(CLUSTERROLEBINDINGS, {**binding, "roleRef": reference, "subjects": subjects})


async def place(scene, name):
    """A Placement of a ConfigMap, made by tess."""
    async with Client(load_kubeconfig(scene.kubeconfigs["user-tess"])) as tess:
        await tess.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
        metadata = {"name": name, "namespace": "shop"}
        await tess.create(CONFIGMAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
        spec = {"workload": [{"apiVersion": "v1", "kind": "ConfigMap", "name": name}]}
        placement = {"apiVersion": PLACEMENTS.api_version, "kind": "Placement", "metadata": metadata, "spec": spec}
        await tess.create(PLACEMENTS, placement)


async def refuse(scene, found):
    """What decision says where no target is left."""
    request, refusal = found.request, Refusal(code="Unschedulable", message="0/1 targets: 1 not authorized")
    message = Decided(placement=request.placement, head=request.head, refusal=refusal)
    await scene.bus.publish(message.subject(), encode(message), id=message.id())


async def recorded(scene):
    """The state of RBAC where the target is, as discovery has recorded it."""
    return (await Table(scene.store, WORKSPACES).get(join(PLATFORM))).value.rbac


@contextlib.asynccontextmanager
async def refused_for_want_of_a_right(scene, **settings):
    """Both workers, and what discovery says of a Placement of tess, who may use no target."""
    for definition in definitions():
        await scene.hub.cluster(PLATFORM).create(CRDS, definition)
        await scene.hub.cluster(TEAM).create(CRDS, definition)
    await scene.offer(PLATFORM, "east")
    quiet = {"probe_interval_seconds": 3600.0, "denied_ttl_seconds": 3600.0}
    async with scene.running(**quiet, **settings), scene.running_worker(controller, **PATIENT):
        await scene.ready(PLATFORM, "east")
        await until(lambda: recorded(scene))
        await place(scene, "web")
        async with asyncio.timeout(BOUND):
            found = await scene.answers.get()
            assert [each.reason for each in found.rejections] == ["NotAuthorized"]
            yield found


async def allowed(scene):
    """What discovery says of the next round that finds a target; all before it are refused."""
    while not (found := await scene.answers.get()).targets:
        await refuse(scene, found)
    return found


async def test_a_placement_that_waits_for_a_right_is_tried_again_once_it_is_given(scene):
    async with refused_for_want_of_a_right(scene) as found:
        await refuse(scene, found)
        await until(lambda: Table(scene.store, WAITING).get(join(TEAM, "shop", "web")))
        await may_use(scene, "tess")
        placed = await allowed(scene)
        assert placed.targets == ("root:platform/east",)
        assert placed.request.cause.code == "Waiting"


async def test_a_right_that_is_given_while_a_round_is_under_way_is_not_missed(scene):
    async with refused_for_want_of_a_right(scene) as found:
        before = await recorded(scene)
        await may_use(scene, "tess")

        async def changed():
            return await recorded(scene) != before

        await until(changed)
        await refuse(scene, found)  # by what was found before
        assert (await allowed(scene)).targets == ("root:platform/east",)


async def test_a_placement_whose_workspace_comes_back_is_decided_anew(scene):
    """What it had placed may have been removed meanwhile, and its capacity given back."""
    heads, workspaces = Table(scene.store, HEADS), Table(scene.store, WORKSPACES)
    async with refused_for_want_of_a_right(scene, rewalk_interval_seconds=3600.0) as found:
        left = await workspaces.get(join(TEAM))
        known = await heads.get(join(TEAM, "shop", "web"))
        await workspaces.delete(join(TEAM))

        async def noted():
            return await heads.get(join(TEAM, "shop", "web")) != known

        await until(noted)
        await workspaces.put(join(TEAM), left.value)
        again = await scene.answers.get()
        assert again.request.cause.code == "Resync"
        assert found.request.head.older_than(again.request.head)
