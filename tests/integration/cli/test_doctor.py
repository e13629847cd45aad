"""`moorage doctor`: each fault is really made, on a real nats-server and a hub over HTTP, and told by its name."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from services import PIPELINE
from services.cli.diagnosing import queues
from services.cli.diagnosing.faults import NAMES, WHAT_TO_DO, missing_fields
from services.cli.doctor import examine
from services.registry import load_all
from shared.broker.bus import Reject
from shared.broker.nats.bus import NatsBus
from shared.broker.nats.client import NatsClient
from shared.broker.nats.options import NatsOptions
from shared.broker.nats.server import NatsServer
from shared.broker.nats.store import NatsStore
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.kube.resources import CRDS, NAMESPACES, SECRETS
from shared.model.copy import Copy
from shared.pipeline import topology
from shared.pipeline.buckets import BINDING_COPIES, INVENTORY
from shared.process.settings import HubSettings
from tests.support.process import BIN, process
from tests.support.scene import ROOT, Scene
from tests.support.secured import provision
from tests.support.waiting import until

BOUNDS = {"target_allow": "127.0.0.0/8,::1/128", "target_plain_http": True}


class Ward:
    """A system that is well, but that no worker is there: each test makes one thing ill."""

    def __init__(self, scene: Scene, server: NatsServer, client: NatsClient) -> None:
        self.scene = scene
        self.client = client
        self.bus, self.store = NatsBus(client), NatsStore(client)
        kubeconfig = str(scene.ready.kubeconfigs["admin"])
        self.settings = HubSettings(nats_url=server.url, kubeconfig=kubeconfig, **BOUNDS)

    async def faults(self, *workers: str, lag: float = 60.0, **changes: Any) -> dict[str, list[str]]:
        """The names of what is found, each with where."""
        settings = msgspec.structs.replace(self.settings, **changes)
        found: dict[str, list[str]] = {}
        for part in await examine(settings, workers, lag):
            for each in part.faults:
                assert each.message
                found.setdefault(each.fault, []).append(each.where)
        return found

    def kubeconfig(self, path: Path, **changes: str) -> str:
        """The administrator's with another server or token, in a file."""
        content = yaml.safe_load(Path(self.settings.kubeconfig).read_text())
        if "server" in changes:
            content["clusters"][0]["cluster"]["server"] = changes["server"]
        if "token" in changes:
            content["users"][0]["user"] = {"token": changes["token"]}
        path.write_text(yaml.safe_dump(content))
        return str(path)


@pytest.fixture
async def ward(scene: Scene, tmp_path: Path) -> AsyncIterator[Ward]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(NatsServer(tmp_path / "nats"))
        client = await NatsClient.connect(server.url, name="ward")
        stack.push_async_callback(client.close)
        await provision(client)
        found = Ward(scene, server, client)
        for file in sorted((ROOT / "deploy/crds").glob("*.yaml")):
            await scene.platform.apply(CRDS, yaml.safe_load(file.read_text()), field_manager="test", force=True)
        for name in ("east", "west"):
            entry = await Table(scene.store, INVENTORY).get(join(scene.provider, name))
            assert entry is not None
            cluster = (await scene.targets[name].get(NAMESPACES, "kube-system"))["metadata"]["uid"]
            known = msgspec.structs.replace(entry.value, cluster=cluster)
            await Table(found.store, INVENTORY).put(join(scene.provider, name), known)
        yield found


def test_there_is_something_to_do_about_every_fault_and_a_line_in_the_docs() -> None:
    assert set(WHAT_TO_DO) == set(NAMES)
    page = (ROOT / "docs/doctor.md").read_text()
    assert [name for name in NAMES if f"| {name} |" not in page] == []


async def test_a_system_that_is_well_has_no_fault(ward: Ward) -> None:
    assert await ward.faults() == {}


async def test_a_worker_that_is_absent_is_told_until_one_asks_for_messages(ward: Ward) -> None:
    assert await ward.faults("scheduler") == {"WorkerAbsent": ["worker scheduler"]}
    (scheduler,) = load_all(("scheduler",))
    (consumer,) = topology.consumers(scheduler)
    taking = await ward.bus.consume(consumer, _never)
    assert await ward.faults("scheduler") == {}
    await taking.drain(1.0)


async def _never(delivery: Any) -> None:
    raise AssertionError


async def test_messages_that_wait_too_long_are_a_lag(ward: Ward) -> None:
    for number in range(3):
        await ward.bus.publish(f"moorage.pipeline.evaluated.root.shop.web{number}", b"{}", id=str(number))
    assert await ward.faults("scheduler", lag=3600.0) == {"WorkerAbsent": ["worker scheduler"]}
    assert (await ward.faults("scheduler", lag=0.0))["ConsumerLag"] == ["consumer scheduler-evaluated"]


async def test_dead_letters_are_told(ward: Ward) -> None:
    (scheduler,) = load_all(("scheduler",))
    (consumer,) = topology.consumers(scheduler)

    async def reject(delivery: Any) -> None:
        raise Reject("cannot be read")

    taking = await ward.bus.consume(consumer, reject)
    await ward.bus.publish("moorage.pipeline.evaluated.root.shop.web", b"{}", id="1")

    async def parked() -> bool:
        return bool([each async for each in ward.bus.dead_letters()])

    await until(parked)
    found = await ward.faults()
    assert list(found) == ["DeadLetters"]
    await taking.drain(1.0)


async def test_streams_consumers_and_buckets_that_are_gone_are_told(ward: Ward) -> None:
    pipeline = topology.streams()[0].name
    await ward.client.api(f"CONSUMER.DELETE.{pipeline}.scheduler-evaluated")
    assert (await ward.faults("scheduler"))["ConsumerMissing"] == ["consumer scheduler-evaluated"]
    await ward.client.api("STREAM.DELETE.KV_moorage-reservations")
    assert "bucket reservations" in (await ward.faults("scheduler"))["BucketMissing"]
    await ward.client.api(f"STREAM.DELETE.{pipeline}")
    assert (await ward.faults("scheduler"))["StreamMissing"] == [f"stream {pipeline}"]


async def test_clocks_that_do_not_agree_are_told(ward: Ward) -> None:
    import time

    workers = load_all(("binding",))
    await ward.store.raw(BINDING_COPIES).put("garbage", b"\xff{")  # of which nothing is told
    ahead = await queues.examine(ward.bus, ward.store, (), lag=60.0, clock=lambda: time.time() + 60)
    assert [(each.fault, each.where) for each in ahead.faults] == [("ClockSkew", "NATS")]
    assert "60 s behind that of this machine" in ahead.faults[0].message
    beat = Copy(name="slow", beat_at=time.time() - 3600)
    await Table(ward.store, BINDING_COPIES).put("slow", beat)
    found = await queues.examine(ward.bus, ward.store, workers, lag=60.0)
    assert ("ClockSkew", "binding slow") in [(each.fault, each.where) for each in found.faults]


async def test_nats_that_is_not_there_is_told(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "CONNECT_TIMEOUT", 0.3)
    assert list(await ward.faults(nats_url="nats://anna:hunter2@127.0.0.1:1")) == ["NatsUnreachable"]


@pytest.mark.parametrize(
    ("user", "password", "fault"),
    [("nobody", "x", "NatsRefused"), ("weak", "w", "NatsForbidden")],
)
async def test_nats_that_does_not_let_us_is_told(
    ward: Ward, tmp_path: Path, user: str, password: str, fault: str
) -> None:
    weak = {"user": "weak", "password": "w", "permissions": {"publish": ["moorage.>"], "subscribe": ["_INBOX.>"]}}
    config = {"authorization": {"users": [weak, {"user": "admin", "password": "a"}]}}
    async with NatsServer(tmp_path / "guarded", config=config) as server:
        found = await ward.faults(nats_url=server.url, nats_user=user, nats_password=password)
        assert list(found) == [fault]


async def test_jetstream_that_is_not_there_is_told(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "ANSWER_WITHIN", 1.0)
    elsewhere = NatsOptions().api_prefix + ".nowhere"
    assert list(await ward.faults(nats_api_prefix=elsewhere)) == ["JetStreamUnavailable"]


async def test_a_hub_that_does_not_answer_or_let_us_in_is_told_and_no_token_with_it(ward: Ward, tmp_path: Path) -> None:
    assert list(await ward.faults(kubeconfig="/nowhere")) == ["HubKubeconfig"]
    closed = ward.kubeconfig(tmp_path / "closed", server="http://127.0.0.1:1/clusters/root")
    assert list(await ward.faults(kubeconfig=closed)) == ["HubUnreachable"]
    wrong = ward.kubeconfig(tmp_path / "wrong", token="not-a-token")
    assert list(await ward.faults(kubeconfig=wrong)) == ["HubUnauthorized"]
    token = ward.scene.ready.sandbox.add_user("mallory")
    weak = ward.kubeconfig(tmp_path / "weak", token=token)
    assert list(await ward.faults(kubeconfig=weak)) == ["HubForbidden"]


async def test_definitions_that_are_missing_or_of_an_older_version_are_told(ward: Ward) -> None:
    name = "placementdecisions.placement.moorage.io"
    found = await ward.scene.platform.get(CRDS, name)
    schema = found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    del schema["rationale"]
    await ward.scene.platform.replace(CRDS, found)
    assert list(await ward.faults()) == ["CrdOutdated"]
    await ward.scene.platform.delete(CRDS, name)

    async def told() -> bool:
        return list(await ward.faults()) == ["CrdMissing"]

    await until(told)


async def test_targets_that_do_not_answer_or_refuse_our_token_are_told(ward: Ward) -> None:
    scene = ward.scene
    await scene.use_token("east", "outdated")
    config = yaml.safe_load(scene.ready.kubeconfigs["target-west"].read_text())
    config["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:1"
    await scene.use_kubeconfig("west", yaml.safe_dump(config).encode())
    assert await ward.faults() == {
        "TargetUnauthorized": [f"target {scene.provider}/east"],
        "TargetUnreachable": [f"target {scene.provider}/west"],
    }


async def test_a_target_without_kubeconfig_and_one_that_is_not_ready_are_told(ward: Ward) -> None:
    scene = ward.scene
    await scene.platform.delete(SECRETS, "east", "default")
    table = Table(ward.store, INVENTORY)
    entry = await table.get(join(scene.provider, "west"))
    assert entry is not None
    ill = msgspec.structs.replace(entry.value, ready=False, reason="lost")
    await table.put(join(scene.provider, "west"), ill)
    assert await ward.faults() == {
        "TargetKubeconfig": [f"target {scene.provider}/east"],
        "TargetNotReady": [f"target {scene.provider}/west"],
    }


async def test_the_command_names_the_faults_and_what_to_do_and_ends_with_1(ward: Ward) -> None:
    given = {"MOORAGE_NATS_URL": ward.settings.nats_url, "MOORAGE_KUBECONFIG": ward.settings.kubeconfig}
    bounds = {"MOORAGE_TARGET_ALLOW": BOUNDS["target_allow"], "MOORAGE_TARGET_PLAIN_HTTP": "true"}
    env = {**os.environ, **given, **{name: str(value) for name, value in bounds.items()}}
    async with process([str(BIN / "moorage"), "doctor", "-o", "json"], env) as running:
        assert await running.ends() == 1, running.output
        found = json.loads(running.output)
    assert {each["where"] for each in found["faults"]} == {f"worker {name}" for name in PIPELINE}
    assert {each["whatToDo"] for each in found["faults"]} == {WHAT_TO_DO["WorkerAbsent"]}
    assert [each["part"] for each in found["parts"]] == ["NATS", "hub", "targets"]
    async with process([str(BIN / "moorage"), "doctor", "--workers", ""], env) as running:
        assert await running.ends() == 0, running.output
        assert running.lines[-1] == "targets: looked at 2, nothing wrong"


def test_fields_that_a_definition_lacks_are_named_the_outermost_alone() -> None:
    wanted = {
        "properties": {"a": {"properties": {"b": {}, "c": {}}}, "d": {"items": {"properties": {"e": {}}}}, "f": {}}
    }
    there = {"properties": {"a": {"properties": {"b": {}}}, "d": {"items": {"properties": {}}}}}
    assert list(missing_fields(wanted, there)) == [".a.c", ".d[].e", ".f"]
