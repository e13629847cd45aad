"""A cluster's life by `moorage cluster`, on separate processes: it joins, is drained, abandoned, and leaves."""

import base64
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from services.cli.cluster.facts import readiness
from shared.api import decode_synctarget
from shared.hub.resources import EXCEPTIONS, PLACEMENTS, POLICIES, SYNCTARGETS
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import CLUSTERROLES, CONFIGMAPS, NAMESPACES, SECRETS
from tests.e2e.system import System, running_system, until
from tests.support import worlds
from tests.support.client import if_there
from tests.support.manifests import exception, obj, policy
from tests.support.process import process
from tests.support.worlds import PLATFORM

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(240),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("e2e"),
]

BRISK = {
    "MOORAGE_PROBE_INTERVAL_SECONDS": "1",
    "MOORAGE_LOST_AFTER_SECONDS": "2",
    "MOORAGE_EVICTION_TOLERATION_SECONDS": "2",
    "MOORAGE_RESYNC_SECONDS": "5",
    "MOORAGE_HANDOVER_SECONDS": "5",
    "MOORAGE_LOST_RETRY_SECONDS": "5",
}
ROOM = {"cpu": "8", "memory": "32Gi", "pods": "110"}


class Engineer:
    """Who runs the platform: `moorage cluster` on the hub, and the kubeconfigs of clusters."""

    def __init__(self, system: System, folder: Path) -> None:
        self.system = system
        self.folder = folder
        self.platform = system.admin.cluster(PLATFORM)
        self.admin = Path(system.place.kubeconfig).read_text()
        self._sandbox = system.admin.at(system.admin.base.partition("/clusters/")[0])

    async def runs(self, *words: str, code: int = 0) -> str:
        """A command, which ends with this code; what it says."""
        where = ["--kubeconfig", self.system.place.kubeconfig, "--workspace", PLATFORM]
        async with process(["moorage", "cluster", *words, *where], os.environ) as running:
            assert await running.ends() == code, running.output
            return running.output

    async def cluster(self, name: str) -> Path:
        """A cluster that nobody has offered yet; its administrator's kubeconfig."""
        made = json.loads(await self._sandbox.request("POST", f"/sandbox/clusters/{name}", body={"capacity": ROOM}))
        config = yaml.safe_load(self.admin)
        config["clusters"][0]["cluster"]["server"] = made["url"]
        config["users"][0]["user"] = {"token": made["token"]}
        path = self.folder / f"{name}.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path

    def logs(self) -> str:
        """All that the processes wrote so far."""
        return "".join(path.read_text() for path in Path(self.system.place.logs).glob("*.log"))

    async def target(self, name: str) -> dict[str, Any]:
        return await self.platform.get(SYNCTARGETS, name)

    async def available(self, name: str, available: bool) -> None:
        path = f"/sandbox/clusters/{name}/availability"
        await self._sandbox.request("POST", path, body={"available": available})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engineer(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Engineer]:
    folder = tmp_path_factory.mktemp("clusters")
    async with running_system(folder, worlds.world(2, cpu="4", regions=2), env=BRISK) as system:
        yield Engineer(system, folder)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fresh(engineer: Engineer) -> None:
    """A cluster that has joined, with a placement that is nowhere else."""
    await joined(engineer, "fresh")


async def joined(engineer: Engineer, name: str) -> None:
    """A cluster joins, and takes a placement of its name, which selects it alone."""
    owner = await engineer.cluster(name)
    label = ("--label", f"region={name}")
    await engineer.runs("join", name, "--cluster-kubeconfig", str(owner), *label, "--allow-group", "team")
    await engineer.system.place_app(name, targets={"selector": {"matchLabels": {"region": name}}})
    await until(lambda: engineer.system.ready(name), f"{name} is Ready")


async def kubectl_can(kubeconfig: bytes, verb: str, path: str) -> bool:
    """Whether a kubeconfig may do that in its cluster."""
    async with Client(load_kubeconfig(kubeconfig + b"\n")) as client:
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"verb": verb, "resource": path}},
        }
        made = json.loads(
            await client.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=review)
        )
    return bool(made["status"]["allowed"])


async def kubeconfig_of(engineer: Engineer, name: str) -> bytes:
    secret = await engineer.platform.get(SECRETS, f"target-{name}", "moorage-system")
    return base64.b64decode(secret["data"]["kubeconfig"])


async def test_a_cluster_joins_by_one_command_and_takes_placements_by_rights_that_suffice(engineer: Engineer) -> None:
    owner = await engineer.cluster("first")
    joining = ("join", "first", "--cluster-kubeconfig", str(owner), "--label", "region=first")
    shown = await engineer.runs(*joining, "--allow-group", "team", "--dry-run")
    assert [each["kind"] for each in yaml.safe_load_all(shown) if each][-1] == "ClusterRoleBinding"
    assert [each["data"] for each in yaml.safe_load_all(shown) if each["kind"] == "Secret"] == [
        {"token": "<withheld>"},
        {"kubeconfig": "<withheld>"},
    ]
    assert await if_there(engineer.platform.get(SYNCTARGETS, "first")) is None
    said = await engineer.runs(*joining, "--allow-group", "team")
    assert "root:platform/first has joined" in said
    assert load_kubeconfig(await kubeconfig_of(engineer, "first") + b"\n").token not in said
    found = await engineer.target("first")
    assert found["metadata"]["labels"] == {"region": "first"}
    granted = await kubeconfig_of(engineer, "first")
    assert await kubectl_can(granted, "create", "secrets")
    assert not await kubectl_can(granted, "delete", "nodes")
    assert not await kubectl_can(granted, "create", "clusterroles")
    system = engineer.system
    await system.place_app("first", targets={"selector": {"matchLabels": {"region": "first"}}})
    await until(lambda: system.ready("first"), "it is Ready in the cluster that joined")
    conditions = {each["type"]: each["status"] for each in (await engineer.target("first"))["status"]["conditions"]}
    assert conditions["PodsCounted"] == "True"


async def test_who_joins_again_changes_nothing_and_a_cluster_does_not_join_twice(engineer: Engineer) -> None:
    owner = await engineer.cluster("again")
    joining = ("join", "again", "--cluster-kubeconfig", str(owner), "--allow-group", "team")
    await engineer.runs(*joining)
    before = [await kubeconfig_of(engineer, "again"), (await engineer.target("again"))["spec"]]
    await engineer.runs(*joining)
    assert [await kubeconfig_of(engineer, "again"), (await engineer.target("again"))["spec"]] == before
    said = await engineer.runs("join", "twice", "--cluster-kubeconfig", str(owner), code=1)
    assert "joined already, as root:platform/again" in said
    other = await engineer.cluster("other")
    said = await engineer.runs("join", "again", "--cluster-kubeconfig", str(other), code=1)
    assert "root:platform/again is another cluster" in said
    assert await if_there(engineer.platform.get(SYNCTARGETS, "twice")) is None
    async with Client(load_kubeconfig(other)) as untouched:
        assert await if_there(untouched.get(NAMESPACES, "moorage-system")) is None
    assert "root:platform/again has left" in await engineer.runs("leave", "again", "--cluster-kubeconfig", str(owner))
    async with Client(load_kubeconfig(owner)) as left:
        roles = [each["metadata"]["name"] for each in (await left.list(CLUSTERROLES)).items]
    assert [name for name in roles if "moorage" in name] == []
    assert await if_there(engineer.platform.get(SECRETS, "target-again", "moorage-system")) is None


@pytest.mark.usefixtures("fresh")
async def test_who_may_use_a_cluster_is_allowed_and_revoked(engineer: Engineer) -> None:
    assert "used by team, others" in await engineer.runs("allow", "fresh", "--group", "others")
    assert "used by team" in await engineer.runs("allow", "fresh", "--group", "others", "--revoke")
    found = json.loads(await engineer.runs("describe", "fresh", "-o", "json"))
    assert found["allowed"] == ["Group team"]
    assert [each["name"] for each in found["placed"]] == ["fresh"]
    await engineer.runs("allow", "fresh", code=2)
    assert "offers no cluster nowhere" in await engineer.runs("allow", "nowhere", "--group", "team", code=1)


@pytest.mark.usefixtures("fresh")
async def test_the_list_says_what_each_cluster_has_left(engineer: Engineer) -> None:
    rows = {each["name"]: each for each in json.loads(await engineer.runs("list", "-o", "json"))["clusters"]}
    assert {"cluster-000", "cluster-001", "fresh"} <= set(rows)
    fresh = rows["fresh"]
    assert (fresh["ready"], fresh["scheduling"], fresh["placements"]) == (True, "Enabled", 1)
    assert fresh["free"]["cpu"] == pytest.approx(7.9, abs=0.01)
    assert "fresh" in await engineer.runs("list")


@pytest.mark.usefixtures("fresh")
async def test_the_token_of_a_cluster_is_rotated_while_it_is_used(engineer: Engineer) -> None:
    before = await kubeconfig_of(engineer, "fresh")
    said = await engineer.runs("rotate", "fresh", "--grace", "5s")
    assert "has another token; 1 revoked" in said
    after = await kubeconfig_of(engineer, "fresh")
    assert before != after
    with pytest.raises(ApiError) as refused:
        await kubectl_can(before, "create", "secrets")
    assert refused.value.unauthorized
    system = engineer.system
    await system.place_app("rotated", targets={"selector": {"matchLabels": {"region": "fresh"}}})
    await until(lambda: system.ready("rotated"), "it is Ready by the new token")
    await system.user.delete(PLACEMENTS, "rotated", worlds.NAMESPACE)
    logs = engineer.logs()
    assert "Unauthorized" not in logs
    assert load_kubeconfig(after + b"\n").token not in logs
    assert "not offered by an account" in await engineer.runs("rotate", "cluster-000", code=1)


@pytest.mark.usefixtures("fresh")
async def test_a_cordoned_cluster_keeps_what_it_has_and_takes_nothing_new(engineer: Engineer) -> None:
    system = engineer.system
    await engineer.runs("cordon", "fresh")
    assert (await engineer.target("fresh"))["spec"]["unschedulable"] is True

    async def seen() -> bool:
        await system.place_app("late", targets={"selector": {"matchLabels": {"region": "fresh"}}})
        await until(lambda: _phase(system, "late"), "late is decided")
        phase = (await system.status("late"))["phase"]
        await system.user.delete(PLACEMENTS, "late", worlds.NAMESPACE)
        return bool(phase == "Unschedulable")

    assert await seen()
    assert await system.placed("fresh") == []  # of the world's clusters none has it
    assert await system.ready("fresh")
    await engineer.runs("uncordon", "fresh")
    assert (await engineer.target("fresh"))["spec"]["unschedulable"] is False


async def _phase(system: System, name: str) -> bool:
    return (await system.status(name)).get("phase") not in (None, "Pending")


async def test_a_drain_is_foretold_and_then_done_and_what_fits_nowhere_is_named(engineer: Engineer) -> None:
    system = engineer.system
    for name in ("one", "two"):
        await system.place_app(name, targets={"names": ["cluster-000", "cluster-001"]})
        await until(lambda name=name: system.ready(name), f"{name} is Ready")
    home = (await system.chosen("one"))[0]
    other = "cluster-001" if home == "cluster-000" else "cluster-000"
    there = [name for name in ("one", "two") if await system.chosen(name) == [home]]
    foretold = json.loads(await engineer.runs("drain", home, "--dry-run", "-o", "json"))["moves"]
    assert [(each["name"], each["after"]) for each in foretold] == [(name, [f"{PLATFORM}/{other}"]) for name in there]
    assert await system.chosen("one") == [home]
    said = await engineer.runs("drain", home, "--timeout", "2m")
    assert f"{worlds.NAMESPACE}/one has left, and is in {other}" in said
    assert await system.chosen("one") == [other]
    assert home not in await system.placed("one")
    said = await engineer.runs("drain", other, "--dry-run", code=1)
    assert "2 of 2 would stay" in said
    said = await engineer.runs("drain", other, "--timeout", "5s", code=1)
    assert "one fits nowhere else" in said
    assert await system.placed("one") == [other]
    for name in (home, other):
        await engineer.runs("uncordon", name)
    assert not (await engineer.target(other))["spec"].get("taints")


async def test_a_drain_is_foretold_by_parameters_and_exceptions_of_policies_too(engineer: Engineer) -> None:
    """Policies would close the other target, but for an exception from one, and what the other has as params."""
    system, team = engineer.system, engineer.system.admin.cluster(worlds.TEAM)
    await system.place_app("three", targets={"names": ["cluster-000", "cluster-001"]})
    await until(lambda: system.ready("three"), "it is Ready")
    (home,) = await system.chosen("three")
    other = "cluster-001" if home == "cluster-000" else "cluster-000"
    ref = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": worlds.NAMESPACE, "name": "closed"}
    match = {"namespaces": [worlds.NAMESPACE]}
    closed = {"name": "closed", "effect": "Forbid", "expression": f'target.name == "{other}"'}
    by_params = {"name": "closed", "effect": "Forbid", "expression": "target.name == params.data.closed"}
    made = (
        (CONFIGMAPS, obj("ConfigMap", "v1", name="closed", namespace=worlds.NAMESPACE, data={"closed": "none"})),
        (EXCEPTIONS, exception("lift", "closed", match=match)),
        (EXCEPTIONS, exception("of-nothing", "not-there", match=match)),
        (POLICIES, policy("closed", closed)),
        (POLICIES, policy("by-params", by_params, paramRef={**ref, "parameterNotFoundAction": "Deny"})),
    )
    for resource, each in made:
        await team.create(resource, each)
    foretold = json.loads(await engineer.runs("drain", home, "--dry-run", "-o", "json"))["moves"]
    assert {each["name"]: each["after"] for each in foretold}["three"] == [f"{PLATFORM}/{other}"]
    for resource, each in reversed(made):
        await team.delete(resource, each["metadata"]["name"], each["metadata"].get("namespace", ""))


async def test_a_cluster_in_use_does_not_leave_but_drained(engineer: Engineer) -> None:
    await joined(engineer, "parting")
    said = await engineer.runs("leave", "parting", code=1)
    assert "1 placements are in root:platform/parting (root:team/apps/parting)" in said
    assert not (await engineer.target("parting"))["spec"].get("unschedulable")
    said = await engineer.runs("leave", "parting", "--abandon", code=1)
    assert "is Ready, so that workers reach it, and nothing need be abandoned" in said
    await engineer.system.user.merge_patch(
        PLACEMENTS, "parting", {"spec": {"targets": {"selector": None}}}, worlds.NAMESPACE
    )
    said = await engineer.runs("leave", "parting", "--drain", "--timeout", "2m")
    assert "root:platform/parting has left" in said
    assert await if_there(engineer.platform.get(SYNCTARGETS, "parting")) is None
    assert await engineer.system.chosen("parting") not in ([], ["parting"])


@pytest.mark.long
async def test_a_dead_cluster_leaves_once_it_is_said_to_be_gone_for_good(engineer: Engineer) -> None:
    system, owner = engineer.system, await engineer.cluster("doomed")
    await engineer.runs("join", "doomed", "--cluster-kubeconfig", str(owner), "--allow-group", "team")
    preferred = {"preferred": [{"weight": 100, "matchExpressions": [{"key": "number", "operator": "DoesNotExist"}]}]}
    await system.place_app("doomed", affinity=preferred)
    await until(lambda: system.ready("doomed"), "it is Ready")
    assert await system.chosen("doomed") == ["doomed"]
    await engineer.available("doomed", available=False)

    async def lost() -> bool:
        return not readiness(decode_synctarget(await engineer.target("doomed")))[0]

    await until(lost, "workers do not reach it any more")
    said = await engineer.runs("leave", "doomed", code=1)
    assert "does not answer" in said
    assert "--abandon" in said
    await engineer.runs("leave", "doomed", "--abandon")

    async def elsewhere() -> bool:
        bindings = [each["spec"]["target"]["name"] for each in await system.bindings()]
        return await system.chosen("doomed") != ["doomed"] and "doomed" not in bindings

    await until(elsewhere, "it runs elsewhere, and nothing waits for the cluster")
    assert await if_there(engineer.platform.get(SYNCTARGETS, "doomed")) is None
