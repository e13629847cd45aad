"""The pipeline as its users meet it: separate processes, real NATS, real HTTP, real workloads."""

from pathlib import Path

import pytest
import pytest_asyncio

from shared.broker.nats.connection import connect
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.hub.resources import PLACEMENTS, POLICIES, SYNCTARGETS
from shared.kube.errors import ApiError
from shared.kube.quantity import parse_quantity
from shared.kube.resources import CONFIGMAPS, DEPLOYMENTS, EVENTS
from shared.pipeline.buckets import INVENTORY
from shared.process.settings import Settings
from tests.e2e.system import BRISK, System, running_system, until
from tests.support import otlp, worlds
from tests.support.client import if_there
from tests.support.kubectl import cells, kubectl, needs_kubectl
from tests.support.manifests import condition, policy

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("e2e")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def spans():
    async with otlp.receiver() as receiver:
        yield receiver


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory, spans):
    env = {**BRISK, "OTEL_EXPORTER_OTLP_ENDPOINT": spans.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    async with running_system(tmp_path_factory.mktemp("e2e"), worlds.world(6, cpu="8"), env=env) as found:
        yield found


async def test_a_placement_becomes_ready_where_it_was_decided_with_every_number_recorded(system: System):
    await system.place_app("web", count=2, replicas=2)
    await until(lambda: system.ready("web"), "web is Ready")
    decision = await system.decision("web")
    chosen = await system.chosen("web")
    assert sorted(await system.placed("web")) == sorted(chosen)
    assert len(chosen) == 2
    for each in decision["selected"]:
        total = sum(part["weighted"] for part in each["breakdown"].values())
        assert total == pytest.approx(each["score"], abs=0.01)
    assert decision["attempt"] == 1
    status = await system.status("web")
    assert {each["type"] for each in status["conditions"]} >= {"Scheduled", "Applied", "Healthy", "Ready"}
    assert {(each["phase"], each["health"]) for each in status["targets"]} == {("Ready", "Healthy")}
    assert status["counts"]["ready"] == 2
    workload = await system.user.get(DEPLOYMENTS, "web", worlds.NAMESPACE)
    applied = await system.targets[chosen[0]].get(DEPLOYMENTS, "web", worlds.NAMESPACE)
    assert applied["spec"]["template"]["spec"] == workload["spec"]["template"]["spec"]
    assert applied["metadata"]["uid"] != workload["metadata"]["uid"]


@needs_kubectl
async def test_kubectl_get_says_where_a_placement_is_and_what_room_a_target_has(system: System, tmp_path: Path):
    await system.place_app("shown", count=2, replicas=2, cpu="500m")
    await until(lambda: system.ready("shown"), "shown is Ready")
    chosen = await system.chosen("shown")

    async def get(kubeconfig: str, *words: str) -> dict[str, dict[str, str]]:
        code, output = await kubectl(tmp_path, Path(kubeconfig), "get", *words)
        assert code == 0, output
        return cells(output)

    placements = await get(system.place.users[worlds.USER], "placements", "--namespace", worlds.NAMESPACE)
    assert sorted(placements["shown"]["WHERE"].split(",")) == sorted(f"{name}:2" for name in chosen)

    platform = f"{system.admin.base.partition('/clusters/')[0]}/clusters/{worlds.PLATFORM}"

    async def counted() -> dict[str, str] | None:
        found = (await get(system.place.kubeconfig, "synctargets", "--server", platform))[chosen[0]]
        return found if found["PLACEMENTS"] not in ("0", "<none>") else None

    target = await until(counted, "placements are counted")
    assert target["CORDONED"] == "false"
    assert 0 < parse_quantity(target["FREE CPU"]) <= 7
    assert parse_quantity(target["FREE MEMORY"]) > 0


async def test_one_placement_is_one_trace_over_all_seven_workers(system: System, spans: otlp.Receiver):
    await system.place_app("traced")
    await until(lambda: system.ready("traced"), "traced is Ready")
    trace = (await system.status("traced"))["traceId"]
    everyone = {
        f"moorage-{name}"
        for name in ("controller", "discovery", "policy", "scheduler", "decision", "binding", "status")
    }

    def whole(all_: list[otlp.Span]) -> bool:  # each process sends its spans when it likes
        own = {span.id: span for span in all_ if span.trace == trace}
        parents = {span.parent for span in own.values() if span.parent}
        return everyone <= {span.service for span in own.values()} and parents <= own.keys()

    found = await spans.until(whole)
    own = {span.id: span for span in found if span.trace == trace}
    roots = [span for span in own.values() if not span.parent]
    assert [root.service for root in roots] == ["moorage-controller"]
    assert all(span.attributes["moorage.name"] == "traced" for span in own.values())


async def test_a_changed_workload_is_rolled_out_where_it_runs(system: System):
    await system.place_app("rolling")
    (target,) = await until(lambda: system.chosen("rolling"), "a decision on rolling")
    await until(lambda: system.ready("rolling"), "rolling is Ready")
    await system.user.merge_patch(DEPLOYMENTS, "rolling", {"spec": {"replicas": 3}}, worlds.NAMESPACE)

    async def rolled():
        applied = await system.targets[target].get(DEPLOYMENTS, "rolling", worlds.NAMESPACE)
        return applied["spec"]["replicas"] == 3

    await until(rolled, "three replicas in the target")
    assert await system.chosen("rolling") == [target]


async def test_a_changed_config_map_is_rolled_out_and_what_was_deleted_in_a_target_comes_back(system: System):
    def config(value: str) -> dict[str, object]:
        metadata = {"name": "tuned", "namespace": worlds.NAMESPACE}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"key": value}}

    app = worlds.deployment("tuned")
    app["spec"]["template"]["spec"]["containers"][0]["envFrom"] = [{"configMapRef": {"name": "tuned"}}]
    await system.user.create(CONFIGMAPS, config("old"))
    await system.user.create(DEPLOYMENTS, app)
    await system.user.create(PLACEMENTS, worlds.placement("tuned"))
    await until(lambda: system.ready("tuned"), "tuned is Ready")
    (target,) = await system.chosen("tuned")
    client = system.targets[target]

    async def bound_phase() -> str:
        mine = [each for each in await system.bindings() if each["spec"]["placementRef"]["name"] == "tuned"]
        return mine[0]["status"].get("phase", "")

    async def is_ready():
        return await bound_phase() == "Ready"

    await until(is_ready, "its PlacementBinding is Ready")
    await system.user.apply(CONFIGMAPS, config("new"), force=True)

    async def rolled_out():
        return (await client.get(CONFIGMAPS, "tuned", worlds.NAMESPACE))["data"] == {"key": "new"}

    await until(rolled_out, "the new ConfigMap in the target")
    before = await system.uid(target, "tuned")
    await client.delete(DEPLOYMENTS, "tuned", worlds.NAMESPACE)

    async def back():
        return await if_there(system.uid(target, "tuned")) not in (None, before)

    await until(back, "the Deployment is back")
    await until(is_ready, "its PlacementBinding is Ready again")


async def test_a_deleted_placement_leaves_nothing_behind(system: System):
    await system.place_app("gone", count=3)
    await until(lambda: system.ready("gone"), "gone is Ready")
    await system.user.delete(PLACEMENTS, "gone", worlds.NAMESPACE)

    async def vanished():
        try:
            await system.placement("gone")
        except ApiError as error:
            return error.not_found
        return False

    await until(vanished, "the Placement is gone")
    assert await system.placed("gone") == []
    assert not [each for each in await system.bindings() if each["spec"]["placementRef"]["name"] == "gone"]


async def test_a_deleted_placement_says_what_holds_it_and_gives_its_capacity_back_when_that_is_gone(system: System):
    await system.place_app("stuck")
    await until(lambda: system.ready("stuck"), "stuck is Ready")
    (target,) = await system.chosen("stuck")
    held = {"metadata": {"finalizers": ["example.com/hold"]}}
    await system.targets[target].merge_patch(DEPLOYMENTS, "stuck", held, worlds.NAMESPACE)
    await system.user.delete(PLACEMENTS, "stuck", worlds.NAMESPACE)

    async def told():
        return condition(await system.status("stuck"), "Removing")

    said = await until(told, "the Placement says that it is held", holds=bool)
    assert said["status"] == "True"
    assert f"{target}: " in said["message"]
    assert "Deployment apps/stuck is being deleted since" in said["message"]
    assert said["message"].endswith("waits for finalizer example.com/hold.")
    status = await system.status("stuck")
    assert status["phase"] == "Removing"
    assert [each["phase"] for each in status["targets"]] == ["Removing"]
    assert any("stuck" in key for key in await system.reservations())
    free = {"metadata": {"finalizers": None}}
    await system.targets[target].merge_patch(DEPLOYMENTS, "stuck", free, worlds.NAMESPACE)

    async def gone():
        return await if_there(system.placement("stuck")) is None

    await until(gone, "the Placement is gone")
    assert not any("stuck" in key for key in await system.reservations())


async def test_a_policy_moves_a_placement_and_its_rules_are_explained(system: System):
    await system.place_app("ruled")
    (before,) = await until(lambda: system.chosen("ruled"), "a decision on ruled")
    rule = {"name": "not-there", "expression": f"target.name == '{before}'", "effect": "Forbid", "message": "by rule"}
    await system.user.create(POLICIES, policy("move-it", rule, placementSelector={"matchLabels": {"move": "yes"}}))
    await system.user.merge_patch(PLACEMENTS, "ruled", {"metadata": {"labels": {"move": "yes"}}}, worlds.NAMESPACE)

    async def moved():
        return [name for name in await system.chosen("ruled") if name != before]

    (after,) = await until(moved, "another target")
    await until(lambda: system.is_only_in("ruled", after), "it runs in the new target only")
    assert (await system.decision("ruled"))["history"][0]["from"][0]["name"] == before


async def test_a_policy_with_a_typo_says_where_and_what_was_meant(system: System):
    rule = {"name": "ready", "expression": "true &&\n  target.redy"}
    await system.user.create(POLICIES, policy("typo", rule, placementSelector={"matchLabels": {"nobody": "is this"}}))

    async def compiled(status: str):
        found = condition((await system.user.get(POLICIES, "typo")).get("status") or {}, "Compiled")
        return found.get("status") == status and found["message"]

    said = await until(lambda: compiled("False"), "the policy is found not to compile")
    assert said == "rules[ready].expression, line 2, column 10: `target` has no field `redy` (did you mean `ready`?)."
    mended = {"spec": {"rules": [{**rule, "expression": "target.ready"}]}}
    await system.user.merge_patch(POLICIES, "typo", mended)
    assert await until(lambda: compiled("True"), "the mended policy compiles") == "The rule compiles."


@pytest.mark.parametrize(
    ("name", "spec", "sentence"),
    [
        ("too-big", {}, "0/6 targets: 6 insufficient cpu"),
        ("nowhere", {"targets": {"selector": {"matchLabels": {"planet": "mars"}}}}, "0/6 targets: 6 "),
        ("bad-scorer", {"strategy": {"scorers": [{"name": "Vibes"}]}}, "Vibes"),
        ("bad-rule", {"policies": [{"name": "r", "expression": "target.name =="}]}, "rule r"),
        ("too-many", {"targets": {"count": {"min": 50}}}, "50"),
    ],
)
async def test_what_cannot_be_placed_says_why_in_one_sentence_and_is_left_in_peace(system, name, spec, sentence):
    await system.user.create(DEPLOYMENTS, worlds.deployment(name, cpu="100" if name == "too-big" else "100m"))
    await system.user.create(PLACEMENTS, worlds.placement(name, **spec))

    async def refused():
        return (await system.status(name)).get("phase") == "Unschedulable"

    await until(refused, f"{name} is Unschedulable")
    status = await system.status(name)
    said = condition(status, "Scheduled")
    assert said["status"] == "False"
    assert sentence in said["message"]
    assert "\n" not in said["message"]
    events = (await system.user.list(EVENTS, worlds.NAMESPACE)).items
    mine = [event for event in events if event["involvedObject"]["name"] == name and event["type"] == "Warning"]
    assert [event["message"] for event in mine] == [said["message"]]
    assert await system.placed(name) == []
    attempts = (await system.decision(name))["attempt"]
    await system.place_app(f"{name}-neighbour")
    await until(lambda: system.ready(f"{name}-neighbour"), "its neighbour is Ready")
    assert (await system.decision(name))["attempt"] <= attempts + 2


@pytest.mark.parametrize(
    ("name", "workload", "sentence"),
    [
        ("selects-nothing", {"kind": "Deployment", "name": "absent"}, "selects nothing: no Deployment named absent"),
        ("no-such-kind", {"kind": "Spaceship", "name": "x"}, "Spaceship"),
    ],
)
async def test_a_placement_that_selects_nothing_usable_says_so(system, name, workload, sentence):
    spec = {"workload": [{"apiVersion": "apps/v1", **workload}]}
    await system.user.create(PLACEMENTS, worlds.placement(name, **spec))

    async def refused():
        return sentence in condition(await system.status(name), "Scheduled").get("message", "")

    await until(refused, f"{name} says: {sentence}")


async def test_what_was_missing_is_placed_once_it_is_there(system: System):
    await system.user.create(PLACEMENTS, worlds.placement("early"))
    await until(lambda: system.decision("early"), "a first decision on early")
    await system.user.create(DEPLOYMENTS, worlds.deployment("early"))
    await until(lambda: system.ready("early"), "early is Ready")


async def test_what_a_quota_refused_is_placed_once_the_quota_allows_it(system: System):
    target, platform = "cluster-005", system.admin.cluster(worlds.PLATFORM)

    async def inventory_has_it() -> bool:
        entry = await Table(store, INVENTORY).get(join(worlds.PLATFORM, target))
        return entry is not None and worlds.TEAM in entry.value.quotas

    async def says() -> bool:
        sentence = f"0/6 targets: 5 not among the names, 1 insufficient cpu quota of {worlds.TEAM}"
        return condition(await system.status("bounded"), "Scheduled").get("message") == sentence

    quotas = [{"workspace": worlds.TEAM, "hard": {"cpu": "1m"}}]
    await platform.merge_patch(SYNCTARGETS, target, {"spec": {"quotas": quotas}})
    bus, store = await connect("e2e", Settings(nats_url=system.place.nats))
    try:
        await until(inventory_has_it, "discovery knows the quota")
    finally:
        await bus.close()
    await system.place_app("bounded", targets={"names": [target]})
    await until(says, "the quota refuses it")
    await platform.merge_patch(SYNCTARGETS, target, {"spec": {"quotas": None}})
    await until(lambda: system.ready("bounded"), "bounded is Ready")
    assert await system.placed("bounded") == [target]
