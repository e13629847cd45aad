"""Requests on the bus: who may be named as a requester, whom RBAC refuses, and whom intake may act as.

On the sandbox, which confines and impersonates as kcp and Kubernetes do.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from services.intake.settings import IntakeSettings
from shared.broker.memory.bus import MemoryBus
from shared.hub.names import REQUESTER_ANNOTATION
from shared.hub.resources import PLACEMENTS
from shared.kube.client import Client
from shared.kube.impersonation import Impersonated
from shared.kube.resources import Resource
from tests.support.actors import APPLY, Actor
from tests.support.asking import Publisher, data_of, place, request, taking, withdraw, write_users
from tests.support.client import if_there
from tests.support.grants import ACCESS, PLACING, grant
from tests.support.manifests import placement
from tests.support.scene import TEAM, Scene, opened

pytestmark = pytest.mark.timeout(120)

NAMED = json.dumps({"username": "rich", "groups": ["rich"]})
API = "/apis/placement.moorage.io/v1alpha1/namespaces/shop/placements"
ACCOUNT = "system:serviceaccount:moorage-system:intake"
EVERYTHING = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with opened(tmp_path / "sandbox") as found:
        yield found


def named(name: str) -> dict[str, Any]:
    made = placement(name)
    made["metadata"]["annotations"] = {REQUESTER_ANNOTATION: NAMED}
    return made


async def recorded(scene: Scene, name: str) -> str:
    found = await scene.team.get(PLACEMENTS, name, "shop")
    return str(json.loads(found["metadata"]["annotations"][REQUESTER_ANNOTATION])["username"])


@asynccontextmanager
async def actor(scene: Scene, user: str, **rights: Any) -> AsyncIterator[Actor]:
    """A user, by plain HTTP, with all rights in the team's workspace, as an administrator of it has."""
    await grant(scene.team, user, ACCESS, EVERYTHING)
    config = yaml.safe_load(scene.ready.kubeconfigs["admin"].read_text())
    config["users"][0]["user"]["token"] = scene.login(user).token
    async with aiohttp.ClientSession() as session:
        yield Actor(session, config, TEAM)


async def test_nobody_who_administers_a_workspace_names_a_requester_there(scene: Scene) -> None:
    async with actor(scene, "mallory") as mallory:
        await mallory.ok("POST", API, named("made"))
        await mallory.ok("PATCH", f"{API}/applied?fieldManager=moorage-requests&force=true", named("applied"), APPLY)
    assert await recorded(scene, "made") == "mallory"
    assert await recorded(scene, "applied") == "mallory"


async def test_who_acts_as_intake_within_a_workspace_names_nobody(scene: Scene) -> None:
    await grant(scene.team, "intake", ACCESS, PLACING)
    async with actor(scene, "mallory") as mallory:
        forged = mallory.acting("intake", Impersonate_Group=["moorage:intake"])
        await forged.ok("POST", API, named("made"))
    assert await recorded(scene, "made") == "intake"


async def test_not_even_the_administrator_of_the_hub_names_a_requester(scene: Scene) -> None:
    await scene.team.create(PLACEMENTS, named("made"))
    assert await recorded(scene, "made") == "admin"


async def test_a_requester_in_the_body_of_a_request_is_refused(scene: Scene, tmp_path: Path) -> None:
    await grant(scene.team, "alice", ACCESS, PLACING)
    users = write_users(tmp_path / "users.yaml", {"user": "alice"})
    settings = IntakeSettings(kubeconfig=str(scene.ready.kubeconfigs["intake"]), users_file=users, health_port=-1)
    publisher = Publisher(MemoryBus(), TEAM, "alice")
    async with taking(settings, publisher.bus, scene.store):
        data = data_of(await publisher.ask(request("place", named("web"))))
    assert data["code"] == "InvalidRequest"
    assert await if_there(scene.team.get(PLACEMENTS, "web", "shop")) is None


def the_hub(scene: Scene, folder: Path, user: str) -> str:
    """The kubeconfig of a user whose hub, without workspaces, is the team's workspace."""
    config = yaml.safe_load(scene.ready.kubeconfigs["admin"].read_text())
    cluster = config["clusters"][0]["cluster"]
    cluster["server"] = f"{cluster['server'].partition('/clusters/')[0]}/clusters/{TEAM}"
    config["users"][0]["user"]["token"] = scene.login(user).token
    path = folder / "intake.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return str(path)


@asynccontextmanager
async def impersonating(scene: Scene, folder: Path) -> AsyncIterator[Publisher]:
    """Intake on a hub without workspaces, where it may act as alice and mallory, and as nobody else."""
    acting = {
        "apiGroups": [""],
        "resources": ["users"],
        "verbs": ["impersonate"],
        "resourceNames": ["alice", "mallory"],
    }
    group = {
        "apiGroups": [""],
        "resources": ["groups"],
        "verbs": ["impersonate"],
        "resourceNames": ["system:authenticated"],
    }
    reading = {"apiGroups": ["placement.moorage.io"], "resources": ["placements"], "verbs": ["get"]}
    asking = {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]}
    await grant(scene.team, ACCOUNT, ACCESS, acting, group, reading, asking)
    await grant(scene.team, "alice", ACCESS, PLACING)
    users = write_users(folder / "users.yaml", {"user": "alice"}, {"user": "mallory"}, {"user": "root"})
    kubeconfig = the_hub(scene, folder, ACCOUNT)
    settings = IntakeSettings(kubeconfig=kubeconfig, users_file=users, hub="kubernetes", health_port=-1)
    publisher = Publisher(MemoryBus(), "", "alice")
    async with taking(settings, publisher.bus, scene.store):
        yield publisher


async def test_on_kubernetes_the_user_acts_and_admission_records_them(scene: Scene, tmp_path: Path) -> None:
    async with impersonating(scene, tmp_path) as alice:
        answer = await alice.ask(place("web"))
        assert answer.type.endswith(".accepted.v1"), data_of(answer)
        assert await recorded(scene, "web") == "alice"
        assert (await alice.ask(withdraw("web"), "withdraw")).type.endswith(".accepted.v1")


async def test_on_kubernetes_who_has_no_rights_is_refused_by_the_hubs_own_rbac(scene: Scene, tmp_path: Path) -> None:
    async with impersonating(scene, tmp_path) as publisher:
        for event, verb in ((place("web"), "place"), (withdraw("web"), "withdraw")):
            data = data_of(await publisher.ask(event, verb, user="mallory"))  # type: ignore[arg-type]
            assert data["code"] == "Forbidden"
            assert "mallory" in data["message"]
    assert await if_there(scene.team.get(PLACEMENTS, "web", "shop")) is None


async def test_on_kubernetes_intake_acts_as_nobody_whom_rbac_does_not_name(scene: Scene, tmp_path: Path) -> None:
    async with impersonating(scene, tmp_path) as publisher:
        data = data_of(await publisher.ask(place("web"), user="root"))
    assert data["code"] == "Forbidden"
    assert "impersonate" in data["message"]


async def test_a_workspace_in_the_subject_leads_nowhere_on_a_hub_without(scene: Scene, tmp_path: Path) -> None:
    async with impersonating(scene, tmp_path) as publisher:
        data = data_of(await publisher.ask(place("web"), workspace=TEAM))
    assert data["code"] == "NotFound"


async def test_impersonation_is_asked_for_with_every_group_and_all_that_is_known(scene: Scene) -> None:
    reviews = Resource("authentication.k8s.io", "v1", "selfsubjectreviews", False, "SelfSubjectReview")
    who = Impersonated(username="a b", uid="7", groups=("one", "two"), extra={"example.com/key": ("x",)})
    client: Client = scene.hub.cluster(TEAM).acting_as(who)
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    info = (await client.create(reviews, body))["status"]["userInfo"]
    assert (info["username"], info["uid"]) == ("a b", "7")
    assert info["groups"][:2] == ["one", "two"]
    assert info["extra"]["example.com/key"] == ["x"]
