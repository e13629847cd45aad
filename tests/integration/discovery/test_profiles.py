"""SyncTargets that discovery makes of ClusterProfiles: made, kept, taken away, and nobody else's touched."""

import asyncio
import base64
import json
import logging
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.discovery.deriving import CONSUMER, CONSUMER_LABEL, KUBECONFIG_KEY, PROFILE_LABEL
from services.discovery.profiles import AT_A_STRETCH, in_turns
from services.sandbox.errors import ApiError
from services.sandbox.wire.http import Request as HttpRequest
from services.sandbox.wire.http import Response, refusal
from shared.hub.names import CLUSTER_PROFILE_ANNOTATION, DERIVED_LABEL
from shared.hub.resources import CLUSTER_PROFILES as PROFILES
from shared.hub.resources import SYNCTARGETS
from shared.kube.client import Client
from shared.kube.resources import CRDS, NAMESPACES, SECRETS
from tests.support import multicluster
from tests.support.client import if_there
from tests.support.discovery import Scene
from tests.support.manifests import obj
from tests.support.waiting import until

ROOT = Path(__file__).parents[3]
PLATFORM = "root:platform"
FLEET = "fleet"
WITHIN = 90.0  # seconds
VERBS = {"GET": {"get", "list", "watch"}, "PATCH": {"patch"}, "DELETE": {"delete"}, "POST": {"create"}}


class Fleet:
    """A workspace with a namespace of ClusterProfiles."""

    def __init__(self, scene: Scene, client: Client) -> None:
        self.scene = scene
        self.client = client

    @asynccontextmanager
    async def derived(self, **settings: Any) -> AsyncIterator[None]:
        async with self.scene.running(derive_from_namespace=FLEET, **{"profile_gone_seconds": 0.0, **settings}):
            yield

    async def profile(self, name: str, **labels: str) -> None:
        made = obj("ClusterProfile", PROFILES.api_version, name=name, namespace=FLEET)
        made["metadata"]["labels"] = labels
        await self.client.create(PROFILES, {**made, "spec": {"clusterManager": {"name": "tests"}}})

    async def label(self, name: str, **labels: str | None) -> None:
        await self.client.merge_patch(PROFILES, name, {"metadata": {"labels": labels}}, FLEET)

    async def access(self, name: str, kubeconfig: bytes | None = None) -> None:
        """A Secret with the kubeconfig of the cluster of that name, for Moorage."""
        content = kubeconfig or self.scene.kubeconfigs[f"target-{name}"].read_bytes()
        made = obj("Secret", "v1", name=f"{name}-access", namespace=FLEET)
        made["metadata"]["labels"] = {CONSUMER_LABEL: CONSUMER, PROFILE_LABEL: name}
        await self.client.create(SECRETS, {**made, "data": {KUBECONFIG_KEY: base64.b64encode(content).decode()}})

    async def gone(self, name: str) -> None:
        await self.client.delete(PROFILES, name, FLEET)

    async def target(self, name: str) -> dict[str, Any] | None:
        return await if_there(self.client.get(SYNCTARGETS, name))

    async def becomes(self, name: str, **labels: str) -> dict[str, Any]:
        """The SyncTarget, once it has these labels and its mark, and no others."""

        async def look() -> dict[str, Any] | None:
            found = await self.target(name)
            return found if found and found["metadata"].get("labels") == {**labels, **MARK} else None

        found: dict[str, Any] = await until(look, f"{name} has {labels}", within=WITHIN)
        return found

    async def leaves(self, name: str) -> None:
        async def away() -> bool:
            return await self.target(name) is None

        await until(away, f"{name} goes", within=WITHIN)

    def makes(self, refused: Iterable[str], status: int = 403, times: list[float] | None = None) -> list[str]:
        """The names of SyncTargets that somebody asks to make from now on, all but those `refused` with success, and
        the `times`."""
        names: list[str] = []
        handle = self.scene.sandbox.handle

        async def tapped(request: HttpRequest) -> Response:
            if request.method != "POST" or not request.path.endswith(f"/{SYNCTARGETS.plural}"):
                return await handle(request)
            name = json.loads(request.body)["metadata"]["name"]
            names.append(name)
            if times is not None:
                times.append(time.monotonic())
            if name in refused:
                return refusal(ApiError(status, "Fault", "as the test wants it"))
            return await handle(request)

        self.scene.sandbox.handle = tapped  # type: ignore[method-assign]  # it is looked up for every request
        return names

    async def looks(self) -> None:
        """Wait until all that is known was acted on: of a profile that comes now, a SyncTarget is made."""
        await self.profile("west")
        await self.access("west")
        await self.becomes("west")


MARK = {DERIVED_LABEL: "ClusterProfile"}


@pytest.fixture
async def fleet(scene: Scene) -> Fleet:
    await scene.define(PLATFORM)
    client = scene.hub.cluster(PLATFORM)
    await client.create(CRDS, multicluster.PROFILE_CRD)
    await client.create(NAMESPACES, obj("Namespace", name=FLEET, namespace=""))
    return Fleet(scene, client)


async def test_a_profile_becomes_a_target_that_is_kept_as_it_says_and_goes_with_it(fleet: Fleet) -> None:
    async with fleet.derived():
        await fleet.profile("east", region="eu", tier="gold")
        await fleet.access("east")
        found = await fleet.becomes("east", region="eu", tier="gold")
        assert found["metadata"]["annotations"][CLUSTER_PROFILE_ANNOTATION] == "fleet/east"
        assert (await fleet.scene.ready(PLATFORM, "east")).labels["region"] == "eu"
        await fleet.label("east", region="us", tier=None)
        await fleet.becomes("east", region="us")
        await fleet.gone("east")
        await fleet.leaves("east")


async def test_what_its_owner_says_on_it_stays_and_what_is_ours_is_put_right(fleet: Fleet) -> None:
    await fleet.profile("east")
    await fleet.access("east")
    async with fleet.derived():
        await fleet.becomes("east")
        theirs = {"spec": {"unschedulable": True, "kubeconfigSecretRef": {"name": "another"}}}
        await fleet.client.merge_patch(SYNCTARGETS, "east", theirs)

        async def right() -> bool:
            spec = (await fleet.target("east") or {})["spec"]
            return bool(spec["kubeconfigSecretRef"]["name"] == "east-access" and spec["unschedulable"])

        await until(right, "the reference is put right", within=WITHIN)


async def test_it_is_made_once_there_is_a_secret_for_us_and_stays_without_one(fleet: Fleet) -> None:
    await fleet.profile("east")
    async with fleet.derived():
        await fleet.looks()
        assert await fleet.target("east") is None
        await fleet.access("east")
        await fleet.becomes("east")
        await fleet.client.delete(SECRETS, "east-access", FLEET)
        await fleet.label("west", seen="true")
        await fleet.becomes("west", seen="true")
        assert await fleet.target("east") is not None


async def test_a_synctarget_that_is_somebody_elses_is_left_alone(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    await fleet.scene.offer(PLATFORM, "east")
    before = await fleet.target("east")
    assert before is not None
    await fleet.profile("east", region="eu")
    await fleet.access("east")
    with caplog.at_level(logging.WARNING, "moorage.discovery"):
        async with fleet.derived():
            await fleet.looks()
            await fleet.gone("east")
            await fleet.label("west", seen="true")
            await fleet.becomes("west", seen="true")
    after = await fleet.target("east")
    assert after is not None
    assert (after["metadata"]["uid"], after["metadata"]["labels"], after["spec"]) == (
        before["metadata"]["uid"],
        before["metadata"]["labels"],
        before["spec"],
    )
    told = [each for each in caplog.records if "as its ClusterProfile has it" in each.message]
    assert [(each.target, each.error) for each in told] == [  # type: ignore[attr-defined]  # of the log's `extra`
        ("east", "somebody else has a SyncTarget of this name")
    ]


async def test_who_takes_the_mark_off_has_it_for_themselves(fleet: Fleet) -> None:
    await fleet.profile("east")
    await fleet.access("east")
    async with fleet.derived():
        await fleet.becomes("east")
        unmarked = {"metadata": {"labels": {DERIVED_LABEL: None}}}
        await fleet.client.merge_patch(SYNCTARGETS, "east", unmarked)
        await fleet.gone("east")
        await fleet.looks()
        assert await fleet.target("east") is not None


async def test_it_goes_only_when_the_server_says_of_its_profile_by_name_that_it_is_not_there(fleet: Fleet) -> None:
    await fleet.profile("east")
    await fleet.access("east")
    async with fleet.derived():
        await fleet.becomes("east")
        fleet.scene.faults["/clusterprofiles/east"] = 404  # as for all of a kind whose CRD is being replaced
        named = f"GET /clusters/{PLATFORM}{PROFILES.path(FLEET, 'east')}"
        await fleet.scene.hub.cluster(PLATFORM).delete(CRDS, multicluster.PROFILE_CRD["metadata"]["name"])
        await fleet.client.create(CRDS, multicluster.PROFILE_CRD)
        await until(lambda: fleet.scene.requests[named] > 0, "it is asked for by name", within=WITHIN)
        assert await fleet.target("east") is not None
        del fleet.scene.faults["/clusterprofiles/east"]
        await fleet.leaves("east")


async def test_one_whose_profile_comes_back_is_the_same(fleet: Fleet) -> None:
    await fleet.profile("east")
    await fleet.access("east")
    async with fleet.derived(profile_gone_seconds=3600.0):
        before = await fleet.becomes("east")
        await fleet.gone("east")
        await fleet.looks()
        await fleet.profile("east", region="eu")
        after = await fleet.becomes("east", region="eu")
        assert after["metadata"]["uid"] == before["metadata"]["uid"]


async def test_a_kubeconfig_from_there_runs_no_program(fleet: Fleet, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    kubeconfig = yaml.safe_load(fleet.scene.kubeconfigs["target-east"].read_text())
    command = {"apiVersion": "client.authentication.k8s.io/v1", "command": "touch", "args": [str(ran)]}
    kubeconfig["users"][0]["user"] = {"exec": {**command, "interactiveMode": "Never"}}
    await fleet.profile("east")
    await fleet.access("east", yaml.safe_dump(kubeconfig).encode())

    async def refused() -> str:
        status = (await fleet.target("east") or {}).get("status") or {}
        conditions = {each["type"]: each for each in status.get("conditions", ())}
        return str(conditions["Reachable"].get("message", "")) if "Reachable" in conditions else ""

    async with fleet.derived():
        message = await until(refused, "its kubeconfig is refused", within=WITHIN)
    assert "exec" in message
    assert not ran.exists()


async def test_no_more_are_made_than_a_workspace_may_offer(fleet: Fleet) -> None:
    for name in ("east", "west"):
        await fleet.profile(name)
        await fleet.access(name)
    async with fleet.derived(max_workspace_targets=1):
        await fleet.becomes("east")
        await fleet.label("east", seen="true")
        await fleet.becomes("east", seen="true")
        assert await fleet.target("west") is None
        await fleet.gone("east")
        await fleet.becomes("west")


async def test_copies_make_each_once(fleet: Fleet) -> None:
    async with fleet.derived(), fleet.derived():
        for name in ("east", "west"):
            await fleet.profile(name, region=name)
            await fleet.access(name)
        uids = [(await fleet.becomes(name, region=name))["metadata"]["uid"] for name in ("east", "west")]
        await fleet.label("east", region="eu")
        after = [await fleet.becomes("east", region="eu"), await fleet.becomes("west", region="west")]
        assert [each["metadata"]["uid"] for each in after] == uids


async def test_what_the_hub_refuses_is_in_nobodys_way_and_tried_a_few_times_in_one_look(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.discovery.profiles.MOST_REFUSED", 2)
    made = fleet.makes(refused="abcde")
    for name in "abcdef":
        await fleet.profile(name)
        await fleet.access(name, b"none")
    async with fleet.derived():
        await until(lambda: len(made) >= 9, "it is tried again", within=WITHIN)
        assert await fleet.target("f") is not None
    assert made[:9] == ["a", "b", "c", "d", "e", "f", "a", "b", "c"]


async def test_what_fails_for_good_is_tried_ever_more_seldom(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.discovery.profiles.RETRY", 0.2)
    times: list[float] = []
    fleet.makes(refused=["east"], status=422, times=times)
    await fleet.profile("east")
    await fleet.access("east")
    async with fleet.derived(rewalk_interval_seconds=3600.0):
        await until(lambda: len(times) >= 6, "it is tried again and again", within=WITHIN)
    assert times[5] - times[4] > 2.0  # after 0.2 s at first


async def test_others_come_to_their_turn_while_many_names_are_walked() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    names = [str(number) for number in range(10 * AT_A_STRETCH)]
    assert [name async for name in in_turns(names)] == names
    task.cancel()
    assert turns == 10


async def test_where_it_is_not_switched_on_nobody_asks_for_profiles(fleet: Fleet) -> None:
    await fleet.profile("east")
    await fleet.access("east")
    async with fleet.scene.running():
        await fleet.scene.offer(PLATFORM, "west")
        await fleet.scene.ready(PLATFORM, "west")
    assert not [path for path in fleet.scene.requests if path.endswith(PROFILES.plural) and path.startswith("GET")]
    assert await fleet.target("east") is None


async def test_it_takes_the_rights_of_the_example_and_no_others(fleet: Fleet) -> None:
    (role, _) = yaml.safe_load_all((ROOT / "examples/multicluster/profiles.yaml").read_text())
    granted = {(rule["apiGroups"][0], rule["resources"][0]): set(rule["verbs"]) for rule in role["rules"]}
    await fleet.profile("east")
    await fleet.access("east")
    fleet.scene.requests.clear()
    async with fleet.derived():
        await fleet.becomes("east")
        await fleet.label("east", seen="true")
        await fleet.becomes("east", seen="true")
        await fleet.client.delete(PROFILES, "east", FLEET)
        await fleet.leaves("east")
    profiles, targets = f"/{PROFILES.plural}", f"/{SYNCTARGETS.plural}"
    asked = {request for request in fleet.scene.requests if PLATFORM in request}
    of_profiles = {request.split()[0] for request in asked if profiles in request}
    assert of_profiles - {"PATCH", "DELETE"} == {"GET"}  # those two are the test's own
    assert granted[PROFILES.group, PROFILES.plural] == VERBS["GET"]
    of_targets = {request.split()[0] for request in asked if targets in request and not request.endswith("/status")}
    used = set().union(*(VERBS[each] for each in of_targets - {"GET"}))
    assert granted[SYNCTARGETS.group, SYNCTARGETS.plural] == used
