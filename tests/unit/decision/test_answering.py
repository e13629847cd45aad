"""What would be decided: by the same steps as what is decided, with nothing written and nobody named who may not be."""

from collections.abc import Collection

import msgspec
import pytest

from services.decision.answering import answer
from services.decision.charges import Charges
from services.decision.completeness import MARKER, Completeness
from services.decision.decider import Decider
from services.decision.ledger import Ledger
from services.decision.settings import DecisionSettings
from shared.api import PlacementSpec
from shared.broker.bus import Retry
from shared.broker.memory.store import MemoryStore
from shared.broker.store import Raw
from shared.broker.table import Table
from shared.hub.access import Access
from shared.hub.quotas import Quotas
from shared.model.answer import DecisionAnswer
from shared.model.decision import Choice, Proposal, Rejection, Reservation
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.model.request import Cause, Question, Request, Requester
from shared.model.target import Target
from shared.pipeline.buckets import BUCKETS, CHARGES, HEADS, INVENTORY, QUOTAS, RESERVATIONS, WORKSPACES
from shared.pipeline.messages import Scheduled
from tests.support.values import head
from tests.unit.decision.ledgers import nominations_over, wants

REF = PlacementRef(workspace="root:team", namespace="apps", name="web")
OTHER = PlacementRef(workspace="root:team", namespace="apps", name="other")
NOBODY = Head(uid="", generation=0, attempt=0)


class Some(Access):
    """Allows all but some targets."""

    def __init__(self) -> None:
        self.denied: set[str] = set()
        self.unknown: set[str] = set()

    async def may(self, requester, workspace, action):
        raise NotImplementedError

    async def may_use(self, requester, targets: Collection[str], within=None):
        def found(target: str) -> str:
            return "Unknown" if target in self.unknown else "Denied" if target in self.denied else "Allowed"

        return {target: found(target) for target in targets}


class Desk:
    """A decider over state in memory."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.now = 1000.0
        self.table = Table(store, RESERVATIONS)
        self.access = Some()
        self.inventory = Table(store, INVENTORY)
        ledger = Ledger(self.table, self.table.follow(), lambda: 1000.0)
        self.decider = Decider(
            DecisionSettings(health_port=-1),
            ledger=ledger,
            nominations=nominations_over(store, ledger, self.access),
            charges=Charges(Table(store, CHARGES), Table(store, CHARGES).follow(), lambda: 1000.0),
            quotas=Quotas(Table(store, QUOTAS).follow()),
            completeness=Completeness(self.table),
            decisions=None,  # nothing is read or written on the hub
            access=self.access,
            inventory=self.inventory.follow(),
            heads=Table(store, HEADS).follow(),
            workspaces=Table(store, WORKSPACES).follow(),
            vanished=None,
            clock=lambda: self.now,
            tell=None,  # nothing is overwritten
        )

    def offer(self, name: str, cpu: float = 4.0, **more) -> None:
        target = Target(workspace="root:p", name=name, **{"ready": True, "allocatable": {"cpu": cpu}, **more})
        self.decider.inventory._take(self.store_entry(target))

    @staticmethod
    def store_entry(target: Target) -> Raw:
        return Raw(TargetRef.of(target).key, msgspec.json.encode(target), 1)

    async def take(self, name: str, cpu: float) -> None:
        target = self.decider.inventory.get(TargetRef(workspace="root:p", name=name).key)
        assert await self.decider.ledger.reserve(target, wants(OTHER, head(), {"cpu": cpu}))

    async def ask(
        self, *names: str, others: tuple[str, ...] = (), cpu: float = 1.0, reserve: float = 0.0, id: str = "q", **more
    ) -> DecisionAnswer:
        selected, alternates = (
            tuple(Choice(target=f"root:p/{name}", score=50.0, reserve={"cpu": cpu}) for name in each)
            for each in (names, others)
        )
        request = Request(
            placement=REF,
            head=NOBODY,
            cause=Cause(code="Created"),
            spec=PlacementSpec(),
            requester=Requester(username="alice"),
            question=Question(id=id, reserve=reserve),
        )
        proposal = Proposal(strategy="BestFit", selected=selected, alternates=alternates, feasible=len(names + others))
        message = Scheduled(request=request, proposal=proposal, inventory_revision=7, **more)
        return await answer(message, self.decider)

    async def stored(self) -> set[str]:
        return {entry.key for entry in await self.table.entries()} - {MARKER}


@pytest.fixture
async def desk() -> Desk:
    store = MemoryStore()
    await store.provision(BUCKETS)
    found = Desk(store)
    await found.table.update(MARKER, Reservation(placement=REF, head=NOBODY, resources={}), 0)
    for name in ("a", "b", "c"):
        found.offer(name)
    return found


def named(found: DecisionAnswer) -> list[str]:
    return [each.target.name for each in found.decision.selected]


async def test_what_would_be_decided_is_told_as_it_would_be_written_and_nothing_is_reserved(desk: Desk) -> None:
    refused = (Rejection(reason="NotAuthorized", message="not authorized", targets=(), unnamed=2, stage="discovery"),)
    found = await desk.ask("a", others=("b",), rejections=refused)
    assert named(found) == ["a"]
    assert [each.target.name for each in found.decision.alternates] == ["b"]
    assert found.decision.selected[0].reserved == {"cpu": 1.0}
    assert found.decision.rejected["NotAuthorized"].count == 2
    assert (found.refusal, found.considered, found.placement) == (None, 4, REF)
    assert await desk.stored() == set()


async def test_an_alternate_stands_in_where_what_was_proposed_filled_up(desk: Desk) -> None:
    await desk.take("a", 3.5)
    assert named(await desk.ask("a", others=("b",))) == ["b"]


async def test_where_nothing_is_left_the_refusal_says_so(desk: Desk) -> None:
    found = await desk.ask("a", cpu=9.0)
    assert found.refusal is not None
    assert (found.refusal.code, named(found)) == ("Contended", [])


async def test_no_target_is_named_that_the_requester_may_not_use_any_more(desk: Desk) -> None:
    desk.access.denied = {"root:p/a", "root:p/c"}
    found = await desk.ask("a", others=("b", "c"))
    assert found.refusal is not None
    assert found.refusal.code == "NotAuthorized"
    text = msgspec.json.encode(found).decode()
    assert '"b"' in text
    assert '"a"' not in text
    assert '"c"' not in text


async def test_while_nobody_can_say_what_may_be_used_there_is_no_answer(desk: Desk) -> None:
    desk.access.unknown = {"root:p/a"}
    with pytest.raises(Retry, match="nobody can say"):
        await desk.ask("a")


async def test_while_reservations_are_rebuilt_there_is_no_answer(desk: Desk) -> None:
    await desk.table.delete(MARKER)
    with pytest.raises(Retry, match="rebuilt"):
        await desk.ask("a")
