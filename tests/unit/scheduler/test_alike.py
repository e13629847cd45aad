"""What one request leaves behind for the next that asks alike, or is its equal, decides nothing."""

from collections.abc import Callable, Iterable
from random import Random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.snapshot import Snapshot
from shared.model.decision import Reservation
from shared.model.refs import Head
from shared.model.request import Request
from shared.model.target import Target
from tests.unit.scheduler.builders import NOW, decide, deployment, placement, request, snapshot_of, target
from tests.unit.scheduler.test_properties import fleets, make_request, scores, seeds, wire


def another(asked: Request, random: Random) -> Request:
    """The same for another placement, as a rule for other amounts, sometimes with another strategy, or running nowhere
    yet."""
    name = f"web-{random.randrange(100)}"
    spec = asked.spec
    if random.random() < 0.3:
        spec = msgspec.structs.replace(spec, strategy=make_request(random.randrange(1 << 20)).spec.strategy)
    workload = tuple(
        msgspec.structs.replace(each, replicas=random.choice([1, 3, 7]), requests={"cpu": random.choice([0.1, 3.0])})
        for each in asked.workload
    )
    previous = () if random.random() < 0.7 else asked.previous
    return msgspec.structs.replace(asked, placement=placement(name), spec=spec, workload=workload, previous=previous)


@given(seeds.map(make_request), fleets, seeds, st.booleans())
def test_a_request_is_decided_as_if_none_had_been_before_it(asked, fleet, seed, changes) -> None:
    random = Random(seed)
    snapshot, fleet = snapshot_of(fleet), list(fleet)
    alike = msgspec.structs.replace(asked, previous=())
    for each in [alike, *(another(random.choice([asked, alike]), random) for _ in range(4))]:
        assert wire(decide(each, fleet, snapshot=snapshot)) == wire(decide(each, fleet))
        if changes and fleet:
            place = random.randrange(len(fleet))
            fleet[place] = msgspec.structs.replace(fleet[place], ready=random.random() < 0.5, latency={"hub": 7.0})
            snapshot.put(fleet[place])


def an_equal(asked: Request, random: Random) -> Request:
    """The same for another placement, as a rule for the same amounts."""
    workload = asked.workload
    if random.random() < 0.3:
        cpu = random.choice([0.1, 3.0])
        workload = tuple(msgspec.structs.replace(each, requests={"cpu": cpu}) for each in workload)
    return msgspec.structs.replace(asked, placement=placement(f"web-{random.randrange(8)}"), workload=workload)


def _assuming(fleet: Iterable[Target]) -> Snapshot:
    snapshot = Snapshot(assumed_seconds=30.0)
    for each in fleet:
        snapshot.put(each)
    return snapshot


@given(seeds.map(make_request), fleets, seeds, scores)
def test_equals_are_decided_by_what_is_taken_by_then(asked, fleet, seed, policy) -> None:
    random, alike = Random(seed), msgspec.structs.replace(asked, previous=())
    targets = [each.id for each in fleet] + ["root/gone"]
    snapshot = _assuming(fleet)
    done: list[Callable[[Snapshot], object]] = []
    for number in range(4):
        each = an_equal(alike, random)
        as_if_first = _assuming(fleet)
        for do in done:
            do(as_if_first)
        scored = policy[: len(fleet)] if random.random() < 0.5 else ()
        found = decide(each, fleet, snapshot=snapshot, policy_scores=scored)
        assert wire(found) == wire(decide(each, fleet, snapshot=as_if_first, policy_scores=scored))
        some = placement(f"web-{random.randrange(8)}") if random.random() < 0.5 else each.placement
        head = Head(uid="uid", generation=1, attempt=number + 1)
        amount, at = random.choice([0.0, 0.5, 4.0]), random.choice(targets)
        taken = Reservation(placement=some, head=head, resources={"cpu": amount} if amount else {}, labels={})
        changes: list[Callable[[Snapshot], object]] = [
            lambda there, at=at, taken=taken: there.reserve(at, taken),
            lambda there, at=at, some=some: there.release(at, some),
            lambda there, at=at, taken=taken: there.assume(taken.placement, taken.head, {at: taken}, NOW),
            lambda _there: None,
        ]
        done.append(random.choice(changes))
        done[-1](snapshot)


def test_what_a_target_says_of_itself_anew_counts_at_once() -> None:
    fleet = [target("a"), target("b", ready=False)]
    snapshot = snapshot_of(fleet)
    asked = [request(workload=[deployment(cpu=amount)], name=f"web-{amount}") for amount in (1.0, 2.0)]
    assert [choice.target for choice in decide(asked[0], fleet, snapshot=snapshot).proposal.selected] == ["root/a"]
    for each in (target("a", ready=False), target("b")):
        snapshot.put(each)
    assert [choice.target for choice in decide(asked[1], fleet, snapshot=snapshot).proposal.selected] == ["root/b"]
