"""Placements that wait together are not all proposed for the same room."""

from collections import Counter

import msgspec
from hypothesis import given

from services.scheduler.core import schedule
from services.scheduler.settings import SchedulerSettings
from services.scheduler.snapshot import Snapshot
from shared.broker.tokens import join
from shared.model.decision import Reservation
from shared.model.refs import Head
from shared.model.request import Question, Request
from shared.pipeline.messages import Evaluated, Scheduled
from tests.support.waiting import until
from tests.unit.scheduler.builders import NOW, REGION, placement, request, target
from tests.unit.scheduler.test_properties import fleets, requests
from tests.unit.scheduler.test_worker import Lab, running

FLEET = [target(f"t{number:02}") for number in range(10)]
NAMES = " ".join(each.name for each in FLEET)


async def propose(lab: Lab, asked: Request, names: str, revision: int) -> Scheduled:
    targets = tuple(f"root/{name}" for name in names.split())
    return await lab.scheduler.proposer.propose(Evaluated(request=asked, targets=targets, inventory_revision=revision))


def chosen(answer: Scheduled) -> list[str]:
    return [choice.target for choice in answer.proposal.selected]


async def test_a_burst_of_equal_placements_is_spread_over_equal_targets() -> None:
    async with running() as lab:
        revision = await lab.offer(*FLEET)
        answers = [await propose(lab, request(name=f"p{n}"), NAMES, revision) for n in range(30)]
        assert set(Counter(each for answer in answers for each in chosen(answer)).values()) == {3}


async def test_a_burst_that_is_packed_fills_one_target_after_the_other() -> None:
    async with running() as lab:
        revision = await lab.offer(*FLEET)
        packed = {"strategy": {"type": "Binpack"}}
        answers = [await propose(lab, request(packed, name=f"p{n}"), NAMES, revision) for n in range(15)]
        assert sorted(Counter(each for answer in answers for each in chosen(answer)).values()) == [5, 10]


async def test_nothing_is_assumed_where_that_is_switched_off() -> None:
    async with running(assumed_seconds=0) as lab:
        revision = await lab.offer(target("small", allocatable={"cpu": 1.0, "pods": 9.0}), target("large"))
        answers = [await propose(lab, request(name=f"p{n}"), "small large", revision) for n in range(12)]
        assert {each for answer in answers for each in chosen(answer)} == {"root/large"}


async def test_a_placement_is_not_in_its_own_way_when_it_is_proposed_again() -> None:
    async with running() as lab:
        revision = await lab.offer(target("a", allocatable={"cpu": 1.0, "pods": 1.0}))
        asked = request()
        for _ in range(2):
            assert chosen(await propose(lab, asked, "a", revision)) == ["root/a"]
        assert lab.snapshot.taken.total("root/a", "cpu") == 1.0


async def test_a_question_is_answered_beside_what_is_assumed_and_assumes_nothing_itself() -> None:
    async with running() as lab:
        revision = await lab.offer(target("a", allocatable={"cpu": 1.0, "pods": 9.0}), target("b"))
        asked = msgspec.structs.replace(request(name="asked"), question=Question(id="q"))
        [first] = chosen(await propose(lab, asked, "a b", revision))
        assert not lab.snapshot.taken.assumed_in
        placed = request({"targets": {"names": ["a"]}}, name="placed")
        assert chosen(await propose(lab, placed, "a", revision)) == ["root/a"]
        for again in (asked, msgspec.structs.replace(placed, question=Question(id="q"))):
            chosen(await propose(lab, again, "a b", revision))
            assert lab.snapshot.taken.total("root/a", "cpu") == 1.0
        assert first
        assert chosen(await propose(lab, asked, "a b", revision)) == ["root/b"]


async def test_what_is_held_counts_but_for_the_placement_that_takes_it_over() -> None:
    async with running() as lab:
        revision = await lab.offer(target("a", allocatable={"cpu": 1.0, "pods": 9.0}), target("b"))
        asked = request(name="asked")
        hold = asked.held_as("h")
        held = Reservation(placement=hold, head=asked.head, resources={"cpu": 1.0, "pods": 1.0}, until=1e12)
        await lab.reservations.put(join("root", "a", hold.workspace, hold.namespace, hold.name), held)
        await until(lambda: lab.snapshot.taken.total("root/a", "cpu") == 1.0)
        assert chosen(await propose(lab, asked, "a b", revision)) == ["root/b"]
        taking = msgspec.structs.replace(request(name="taking"), hold="h")
        assert chosen(await propose(lab, taking, "a", revision)) == ["root/a"]
        assert hold in lab.snapshot.taken.reservations
        assert lab.snapshot.taken.total("root/a", "cpu", taking.placement) == 1.0


async def test_what_is_assumed_counts_until_the_reservation_is_seen_and_once_with_it() -> None:
    async with running() as lab:
        revision = await lab.offer(target("a"), target("b"))
        asked = request()
        [where] = chosen(await propose(lab, asked, "a b", revision))
        taken = lab.snapshot.taken
        assert (taken.total(where, "cpu"), set(taken.assumed_in)) == (1.0, {where})
        held = Reservation(placement=asked.placement, head=asked.head, resources={"cpu": 1.0, "pods": 1.0})
        await lab.reservations.put(join(*where.split("/"), "root:shop", "shop", asked.placement.name), held)
        await until(lambda: not taken.assumed_in)
        assert taken.total(where, "cpu") == 1.0


async def test_what_is_assumed_ends_after_a_while() -> None:
    async with running(assumed_seconds=20) as lab:
        revision = await lab.offer(
            target("a", allocatable={"cpu": 1.0, "pods": 9.0}), target("b", latency={"hub": 90.0})
        )
        await propose(lab, request(name="lost"), "a", revision)
        lab.now += 19.0
        assert chosen(await propose(lab, request(name="second"), "a b", revision)) == ["root/b"]
        lab.now += 1.0
        assert chosen(await propose(lab, request(name="third"), "a", revision)) == ["root/a"]
        assert lab.snapshot.taken.total("root/a", "cpu") == 1.0


async def test_nothing_is_refused_for_what_is_only_assumed() -> None:
    async with running() as lab:
        revision = await lab.offer(target("a", allocatable={"cpu": 1.0, "pods": 9.0}))
        for name in ("first", "second"):
            assert chosen(await propose(lab, request(name=name), "a", revision)) == ["root/a"]
        await lab.reserve("a", 1.0)
        refused = await propose(lab, request(name="third"), "a", revision)
        assert refused.proposal.refusal is not None
        assert refused.proposal.refusal.message == "0/1 targets: 1 insufficient cpu"


async def test_placements_of_a_burst_that_stay_away_from_each_other_do() -> None:
    apart = {"selector": {"matchLabels": {"app": "db"}}, "topologyKey": REGION}
    async with running() as lab:
        revision = await lab.offer(target("a", region="north"), target("b", region="south"))
        spec = {"affinity": {"placementAntiAffinity": [apart]}}
        answers = [
            await propose(lab, request(spec, name=f"p{n}", labels={"app": "db"}), "a b", revision) for n in range(3)
        ]
        assert {each for answer in answers for each in chosen(answer)} == {"root/a", "root/b"}
        assert answers[2].proposal.refusal is not None, "nothing after the scheduler would see to it"


@given(requests, fleets)
def test_whoever_fits_where_nothing_is_assumed_is_never_refused(asked, fleet) -> None:
    ids = tuple(each.id for each in fleet)
    alone, crowded = Snapshot(), Snapshot(assumed_seconds=60.0)
    for each in fleet:
        alone.put(each)
        crowded.put(each)
    other = placement("other")
    for number, each in enumerate(fleet):
        amount = {"cpu": float(3 * number), "pods": float(10 * number)}
        taking = Reservation(placement=other, head=Head(uid="", generation=1, attempt=1), resources=amount)
        crowded.assume(placement(f"other-{number}"), taking.head, {each.id: taking}, NOW)
    found = [schedule(asked, each, ids, now=NOW, settings=SchedulerSettings()).proposal for each in (alone, crowded)]
    assert found[1].refusal in (None, found[0].refusal)
