"""Holds: reservations that nobody decided, which count like any other, end by themselves, and are taken over."""

import msgspec
import pytest

from services.decision.holds import MOST_OF_WORKSPACE, MOST_SECONDS, Holding, TakingOver, end_holds
from services.decision.ledger import Ledger
from services.decision.settling import settle
from shared.api import PlacementSpec
from shared.broker.bus import Retry
from shared.model.decision import Choice, Proposal
from shared.model.refs import PlacementRef, TargetRef
from shared.model.request import Cause, Request, Requester
from shared.pipeline.messages import Scheduled
from tests.support.values import head
from tests.unit.decision.ledgers import wants
from tests.unit.decision.test_answering import OTHER, REF, Desk, desk, named

__all__ = ["desk"]


async def take(
    desk: Desk, cpu: float, *, hold: str = "", ledger: Ledger | None = None, who: str = "alice", ref: PlacementRef = REF
) -> list[str] | str:
    """What a placement gets of target `a`, or the code of the refusal."""
    proposal = Proposal(
        strategy="BestFit", selected=(Choice(target="root:p/a", score=50.0, reserve={"cpu": cpu}),), feasible=1
    )
    request = Request(
        placement=ref,
        head=head(),
        cause=Cause(code="Created"),
        spec=PlacementSpec(),
        requester=Requester(username=who),
        hold=hold,
    )
    message = Scheduled(request=request, proposal=proposal, inventory_revision=0)
    ledger = ledger or desk.decider.ledger
    taking = TakingOver(ledger, request.held_as(hold)) if hold else ledger
    settled = await settle(message, taking, desk.decider.inventory, {"root:p/a"}, 0)
    return settled.refusal.code if settled.refusal else [each.target for each in settled.taken]


async def held(desk: Desk) -> dict[str, float]:
    """What is held by the target's name, as it is stored."""
    found = [entry for entry in await desk.table.entries() if entry.value.until]
    return {TargetRef.owning(entry.key).name: entry.value.resources["cpu"] for entry in found}


async def test_what_would_be_decided_is_held_until_a_time(desk: Desk) -> None:
    answer = await desk.ask("a", "b", cpu=3.0, reserve=30.0)
    assert named(answer) == ["a", "b"]
    assert answer.hold is not None
    assert (answer.hold.id, answer.hold.until, answer.hold.targets) == ("q", "1970-01-01T00:17:10.000000Z", 2)
    assert await held(desk) == {"a": 3.0, "b": 3.0}
    assert named(await desk.ask("a", others=("c",), cpu=3.0)) == ["c"]
    with pytest.raises(AssertionError):
        await desk.take("a", 3.0)


async def test_it_ends_by_itself_and_not_before(desk: Desk) -> None:
    await desk.ask("a", cpu=3.0, reserve=30.0)
    assert await end_holds(desk.decider.ledger, desk.decider.charges, lambda each: each.until <= 1029.9) == 0
    assert await end_holds(desk.decider.ledger, desk.decider.charges, lambda each: each.until <= 1030.0) == 1
    assert await desk.stored() == set()
    await desk.take("a", 3.0)


async def test_it_survives_whoever_made_it_and_ends_all_the_same(desk: Desk) -> None:
    await desk.ask("a", cpu=3.0, reserve=30.0)
    other = Ledger(desk.table, desk.table.follow(), lambda: desk.now)
    target = desk.decider.inventory.get(TargetRef(workspace="root:p", name="a").key)
    assert await other.reserve(target, wants(OTHER, head(), {"cpu": 3.0})) is None
    assert await end_holds(other, desk.decider.charges, lambda each: each.until <= 1031.0) == 1
    assert await other.reserve(target, wants(OTHER, head(), {"cpu": 3.0}))


async def test_nothing_is_held_beyond_the_room_that_there_is_though_an_override_forces_it_there(desk: Desk) -> None:
    target = desk.decider.inventory.get(TargetRef(workspace="root:p", name="a").key)
    assert target is not None
    forced = wants(REF, head(), {"cpu": 5.0}, over_commit=True)
    assert await Holding(desk.decider.ledger, REF.hold("q", "alice"), desk.now + 30).reserve(target, forced) is None
    assert await held(desk) == {}
    assert await desk.decider.ledger.reserve(target, forced)


async def test_a_placement_that_names_it_takes_it_over_and_no_other_does(desk: Desk) -> None:
    await desk.ask("a", cpu=3.0, reserve=30.0)
    assert await take(desk, 3.0) == "Contended"
    assert await take(desk, 3.0, hold="another") == "Contended"
    assert await take(desk, 3.0, hold="q") == ["root:p/a"]
    await desk.decider.ledger.end_holds(lambda each: each.placement == REF.hold("q", "alice"))
    assert await held(desk) == {}
    assert desk.decider.ledger.held(REF)
    assert await take(desk, 4.5, hold="q") == "Contended"


@pytest.mark.parametrize(
    ("who", "ref"),
    [
        ("mallory", REF),
        ("", REF),
        ("alice:q", REF),
        ("alice", msgspec.structs.replace(REF, namespace="other")),
        ("alice", msgspec.structs.replace(REF, workspace="root:other")),
    ],
)
async def test_whoever_knows_its_id_and_did_not_ask_for_it_there_does_not_take_it_over(desk: Desk, who, ref) -> None:
    await desk.ask("a", cpu=3.0, reserve=30.0)
    assert await take(desk, 3.0, hold="q", who=who, ref=ref) == "Contended"
    assert await held(desk) == {"a": 3.0}
    assert await take(desk, 3.0, hold="q") == ["root:p/a"]


async def test_of_what_a_placement_has_already_only_the_rest_is_held(desk: Desk) -> None:
    assert await take(desk, 1.0) == ["root:p/a"]
    await desk.ask("a", cpu=3.0, reserve=30.0)
    assert await held(desk) == {"a": 2.0}


async def test_a_refusal_holds_nothing(desk: Desk) -> None:
    answer = await desk.ask("a", "b", cpu=9.0, reserve=30.0)
    assert answer.hold is None
    assert answer.refusal is not None
    assert await held(desk) == {}


async def test_nobody_holds_for_ever_or_without_end(desk: Desk) -> None:
    answer = await desk.ask("a", cpu=0.01, reserve=1e9)
    assert answer.hold is not None
    assert {entry.value.until for entry in await desk.table.entries() if entry.value.until} == {1000.0 + MOST_SECONDS}
    for number in range(MOST_OF_WORKSPACE - 1):
        await desk.ask("a", cpu=0.01, reserve=30.0, id=str(number))
    with pytest.raises(Retry, match="holds, which is the most"):
        await desk.ask("a", cpu=0.01, reserve=30.0, id="more")


async def test_those_that_wait_for_others_to_leave_are_no_holds_of_their_workspace(desk: Desk) -> None:
    target = desk.decider.inventory.get(TargetRef(workspace="root:p", name="a").key)
    for number in range(MOST_OF_WORKSPACE):
        waits = msgspec.structs.replace(REF, name=f"waits-{number}").nomination
        victims = (OTHER,) if number % 2 else ()  # of several targets, others have to leave some
        held = wants(waits, head(), {"cpu": 0.01}, until=desk.now + 60, victims=victims)
        assert await desk.decider.ledger.reserve(target, held)
    assert (await desk.ask("a", cpu=0.01, reserve=30.0)).hold is not None


async def test_upkeep_does_not_take_it_for_something_that_a_placement_left(desk: Desk) -> None:
    await desk.ask("a", cpu=3.0, reserve=30.0)
    assert list(desk.decider.ledger.holders()) == []
    assert len(desk.decider.ledger.holds_of("root:team")) == 1
