"""Tenants on a real nats-server with the permissions that Moorage prints: each follows its own events alone."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from shared.broker.bus import Asked, BusError, Forbidden, Reply, Service
from shared.broker.nats import reader
from shared.broker.nats.bus import NatsBus
from shared.broker.nats.client import NatsClient
from shared.broker.nats.permissions import API
from shared.model.events import SuspendedData
from shared.model.refs import PlacementRef
from shared.pipeline.events import EVENTS_STREAM, PlacementEvent
from shared.pipeline.requests import RequestSubject
from shared.pipeline.tenants import Tenant, account_of, tenant
from tests.support.secured import Secured, secured
from tests.support.waiting import until

ONE = Tenant(name="one", workspace="root:one", users=("alice",))
TWO = Tenant(name="two", workspace="root:two", users=("bob", "carol"))
NOBODY = Tenant(name="nobody", workspace="root:elsewhere")
BOUND = 5.0
EVENTS = "moorage.events"
DATA = json.dumps({"specversion": "1.0"}).encode()


def subject(user: str, workspace: str, verb: str = "place") -> str:
    return RequestSubject(workspace, user, verb).subject


def event(workspace: str, number: int) -> PlacementEvent:
    ref = PlacementRef(workspace=workspace, namespace="n", name="p")
    return PlacementEvent(
        data=SuspendedData(placement=ref, uid=workspace, generation=1, attempt=1), occasion=str(number)
    )


class Tenants:
    """The server, and each tenant's connection to it."""

    def __init__(self, nats: Secured, clients: dict[str, NatsClient], status: NatsClient) -> None:
        self.nats = nats
        self.clients = clients
        self._status = status

    async def happens(self, workspace: str, number: int = 1) -> str:
        """Status tells an event of a workspace; its id."""
        told = event(workspace, number)
        await self._status.request(told.subject, told.encoded({}), {"Nats-Msg-Id": told.id})
        return told.id

    async def replayed(self, name: str, workspace: str) -> list[str]:
        """The ids of all events of a workspace, as a tenant reads them from the stream."""
        wanted = f"{EVENTS}.{workspace.replace(':', '=3A')}.>"
        found = []
        async with asyncio.timeout(BOUND):
            async for message in reader.follow(self.clients[name], EVENTS_STREAM, wanted, {"deliver_policy": "all"}):
                if message is None:
                    return found
                found.append(json.loads(message.data)["id"])
        raise AssertionError


@pytest.fixture
async def tenants(tmp_path: Path) -> AsyncIterator[Tenants]:
    async with AsyncExitStack() as stack:
        nats = await stack.enter_async_context(secured(tmp_path, ONE, TWO, NOBODY))
        names = [each.name for each in (ONE, TWO, NOBODY)]
        clients = {name: await stack.enter_async_context(nats.client(name)) for name in names}
        yield Tenants(nats, clients, await stack.enter_async_context(nats.client("status")))


async def test_each_tenant_reads_the_events_of_its_workspace_and_no_others(tenants: Tenants) -> None:
    first, second = await tenants.happens("root:one"), await tenants.happens("root:two")
    assert await tenants.replayed("one", "root:one") == [first]
    assert await tenants.replayed("two", "root:two") == [second]
    for name, workspace in (("one", "root:two"), ("two", "root:one"), ("nobody", "root:one")):
        with pytest.raises(Forbidden):
            await tenants.replayed(name, workspace)


async def test_a_tenant_follows_what_happens_in_its_workspace_as_it_does(tenants: Tenants) -> None:
    wanted, heard = f"{EVENTS}.root=3Aone.>", []
    async with asyncio.timeout(BOUND):
        async for message in reader.follow(tenants.clients["one"], EVENTS_STREAM, wanted, {"deliver_policy": "all"}):
            if message is None:
                await tenants.happens("root:two")
                await tenants.happens("root:one")
                continue
            heard.append(json.loads(message.data)["id"])
            break
    assert heard == [event("root:one", 1).id]


@pytest.mark.parametrize("filter", [f"{EVENTS}.>", f"{EVENTS}.*.n.p.>", ">", "moorage.>"])
async def test_no_filter_lets_a_tenant_read_more_than_its_own(tenants: Tenants, filter: str) -> None:
    await tenants.happens("root:two")
    client = tenants.clients["one"]
    own = f"{EVENTS}.root=3Aone.>"
    for config in ({"filter_subject": filter}, {"filter_subjects": [own, filter]}, {}):
        request = {"stream_name": EVENTS_STREAM, "config": {"name": "mine", "ack_policy": "none", **config}}
        with pytest.raises(BusError):  # NATS compares the filter with the subject that it was asked on
            await client.api(f"CONSUMER.CREATE.{EVENTS_STREAM}.mine.{own}", request)
        with pytest.raises(Forbidden):
            await client.api(f"CONSUMER.CREATE.{EVENTS_STREAM}.mine.{filter}", request)
        with pytest.raises(Forbidden):
            await client.api(f"CONSUMER.CREATE.{EVENTS_STREAM}.mine", request)


async def test_a_tenant_is_answered_what_would_be_decided(tenants: Tenants) -> None:
    async def tell(asked: Asked) -> Reply:
        return Reply(asked.subject.encode())

    async with tenants.nats.client("intake") as intake:
        await NatsBus(intake).serve(Service(subject="moorage.requests.*.*.decide", group="intake"), tell)
        for name, user in (("one", "alice"), ("two", "bob")):
            asked = subject(user, f"root:{name}", "decide")
            reply = await tenants.clients[name].ask(asked, DATA, timeout=BOUND)
            assert reply.payload.decode() == asked


async def test_a_tenant_asks_as_its_own_users_alone(tenants: Tenants) -> None:
    for name, user in (("one", "alice"), ("two", "bob"), ("two", "carol")):
        await tenants.clients[name].request(subject(user, f"root:{name}"), DATA)
    for name, user, workspace in (
        ("one", "bob", "root:two"),
        ("one", "bob", "root:one"),
        ("two", "alice", "root:one"),
        ("two", "alice", "root:two"),
        ("nobody", "alice", "root:one"),
    ):
        for verb in ("place", "withdraw", "decide"):
            with pytest.raises(Forbidden):
                await tenants.clients[name].request(subject(user, workspace, verb), DATA)


@pytest.mark.parametrize(
    "subject",
    [
        f"{EVENTS}.root=3Aone.n.p.ready",
        f"{EVENTS}.root=3Atwo.n.p.ready",
        "moorage.pipeline.requested.root=3Aone.n.p",
        "moorage.answers.root=3Atwo.x",
        "$KV.moorage-heads.x",
        "moorage.dead.pipeline.requested.x",
        f"{API.replace('$JS', 'JS.moorage')}.STREAM.INFO.{EVENTS_STREAM}",
        f"{API.replace('$JS', 'JS.moorage')}.DIRECT.GET.{EVENTS_STREAM}",
        f"{API.replace('$JS', 'JS.moorage')}.CONSUMER.LIST.{EVENTS_STREAM}",
        f"{API.replace('$JS', 'JS.moorage')}.STREAM.PURGE.{EVENTS_STREAM}",
    ],
)
async def test_a_tenant_tells_nothing_itself_and_sees_nothing_else(tenants: Tenants, subject: str) -> None:
    with pytest.raises(Forbidden):
        await tenants.clients["one"].request(subject, b"{}")


async def test_an_answer_comes_to_the_tenant_that_waits_for_it_and_to_no_other(tenants: Tenants) -> None:
    heard: dict[str, list[bytes]] = {"one": [], "two": []}
    for name, found in heard.items():

        def hear(message, found=found) -> None:
            found.append(message.data)

        await tenants.clients[name].subscribe("_INBOX.waits.>", hear)
        await tenants.clients[name].flush()
    async with tenants.nats.client("intake") as intake:
        await intake.send("moorage.answers.root=3Aone.waits.here", b"answer")
        await intake.flush()
    await until(lambda: heard["one"])
    assert heard == {"one": [b"answer"], "two": []}


def test_a_tenant_is_read_off_one_word() -> None:
    assert tenant("two=root:two/bob,carol") == TWO
    assert tenant("nobody=root:elsewhere") == NOBODY
    assert tenant("whole=/alice") == Tenant(name="whole", workspace="", users=("alice",))
    assert account_of(NOBODY).rights == account_of(Tenant(name="nobody", workspace="root:elsewhere")).rights


@pytest.mark.parametrize("text", ["", "one", "=root:one", "One=root:one", "one=Root", "one=root/alice,", "o.e=root"])
def test_what_names_no_tenant_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="'"):
        tenant(text)
