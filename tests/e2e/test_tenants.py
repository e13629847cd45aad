"""Two tenants, each with an account of its own in NATS, place on the bus and follow; NATS refuses a third."""

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from services import PIPELINE
from shared.broker.bus import Forbidden
from shared.broker.nats.client import NatsClient
from shared.broker.nats.reader import follow
from shared.broker.tokens import escape
from shared.cloudevents import structured
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.resources import NAMESPACES
from shared.pipeline.events import EVENTS_STREAM, EVENTS_SUBJECT
from shared.pipeline.requests import RequestSubject
from shared.pipeline.tenants import Tenant
from tests.e2e.system import running_system
from tests.support import worlds
from tests.support.asking import request
from tests.support.secured import secured

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(400)]

ONE = Tenant(name="one", workspace=worlds.TEAM, users=(worlds.USER,))
TWO = Tenant(name="two", workspace="root:rival", users=("bob",))
THIRD = Tenant(name="third", workspace="root:third", users=("carol",))
SCHEMAS = Path(__file__).parents[2] / "docs/reference/schemas"
WITHIN = 120.0  # seconds
FIRST = {"deliver_policy": "all"}


def world() -> dict[str, Any]:
    found = worlds.world(2, cpu="8")
    found["workspaces"].append(TWO.workspace)
    found["users"].append(
        {"name": "bob", "groups": ["rivals"], "workspaces": {TWO.workspace: "admin", worlds.PLATFORM: "none"}}
    )
    return found


def events_of(tenant: Tenant) -> str:
    return f"{EVENTS_SUBJECT}.{escape(tenant.workspace)}.>"


async def publish(client: NatsClient, workspace: str, user: str, name: str) -> None:
    """Have a Deployment placed; NATS says that the request is stored."""
    data = {"placement": worlds.placement(name), "objects": [worlds.deployment(name)]}
    event = structured(request("place", data, id=f"{workspace}-{name}", inbox=""))
    await client.request(RequestSubject(workspace, user, "place").subject, event)


async def told(client: NatsClient, subject: str, enough: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """The events that a tenant reads from the stream, up to one that is `enough`."""
    found = []
    try:
        async with asyncio.timeout(WITHIN), aclosing(follow(client, EVENTS_STREAM, subject, FIRST)) as messages:
            async for message in messages:
                if message is not None:
                    found.append(json.loads(message.data))
                    if enough(found[-1]):
                        break
    except TimeoutError:
        raise AssertionError(f"not within {WITHIN:g} s; told so far: {found}") from None
    return found


def ready(event: dict[str, Any]) -> bool:
    return bool(event["type"] == "io.moorage.placement.ready.v1")


async def test_each_of_two_tenants_places_and_follows_its_own_and_the_third_is_refused(tmp_path: Path) -> None:
    async with secured(tmp_path / "secured", ONE, TWO, THIRD) as nats:
        env_of = {name: nats.environment(name) for name in PIPELINE}
        async with (
            running_system(tmp_path, world(), nats=nats.server.url, env_of=env_of) as system,
            Client(load_kubeconfig(Path(system.place.users["bob"])), timeout=20) as bob,
            nats.client("one") as one,
            nats.client("two") as two,
            nats.client("third") as third,
        ):
            await bob.create(
                NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": worlds.NAMESPACE}}
            )
            await publish(one, ONE.workspace, worlds.USER, "ours")
            await publish(two, TWO.workspace, "bob", "theirs")
            first, second = await told(one, events_of(ONE), ready), await told(two, events_of(TWO), ready)
            assert {each["subject"] for each in first} == {f"{ONE.workspace}/{worlds.NAMESPACE}/ours"}
            assert {each["subject"] for each in second} == {f"{TWO.workspace}/{worlds.NAMESPACE}/theirs"}
            kinds = {
                f"io.moorage.placement.{kind}.v1" for kind in ("accepted", "requested", "decided", "bound", "ready")
            }
            for found in (first, second):
                assert kinds <= {each["type"] for each in found}
                for event in found:
                    schema = json.loads((SCHEMAS / f"{event['type']}.json").read_text())
                    jsonschema_rs.validator_for(schema).validate(event)

            for client, workspace, user in (
                (third, ONE.workspace, worlds.USER),
                (third, TWO.workspace, "bob"),
                (one, TWO.workspace, "bob"),
                (two, ONE.workspace, worlds.USER),
            ):
                with pytest.raises(Forbidden):
                    await publish(client, workspace, user, "forged")
            for client, tenant in ((third, ONE), (third, TWO), (one, TWO), (two, ONE)):
                with pytest.raises(Forbidden):
                    await told(client, events_of(tenant), ready)
