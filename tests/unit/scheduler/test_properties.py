"""What holds for whatever is asked of whatever fleet."""

from collections import Counter
from random import Random
from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from services.scheduler.core import Outcome
from services.scheduler.division import webster
from services.scheduler.snapshot import Snapshot
from shared.api import Taint
from shared.model.decision import Reservation
from shared.model.refs import Head
from shared.model.request import Request
from shared.model.resources import fits, subtract
from shared.model.target import Target
from tests.unit.scheduler.builders import REGION, decide, deployment, placement, request, snapshot_of, target

ZONE = "topology.kubernetes.io/zone"
ODD = [-1.0, 0.0, 1e18, float("nan"), float("inf")]


def one(random: Random, usual: Any, odd: Any, share: float = 0.06) -> Any:
    """Mostly something usual, now and then something odd."""
    return random.choice(odd if random.random() < share else usual)


def make_fleet(seed: int) -> list[Target]:
    """Up to twelve targets; drawing each fact from Hypothesis would take ten times as long."""
    random = Random(seed)
    return [
        target(
            f"t{n:02}",
            labels={REGION: f"r{random.randrange(4)}", ZONE: f"z{random.randrange(6)}"},
            allocatable={
                "cpu": one(random, [4.0, 8.0, 16.0], ODD),
                "memory": one(random, [4.0, 8.0, 16.0], ODD),
                "pods": one(random, [30.0, 50.0], [0.0, 3.0]),
            },
            allocated={"cpu": one(random, [0.0, 0.1, 1.0, 3.5], ODD)},
            usage={"cpu": one(random, [0.0, 0.1, 1.0, 3.5], ODD)} if random.random() < 0.7 else {},
            latency={"hub": one(random, [3.0, 80.0, 350.0], ODD)} if random.random() < 0.7 else {},
            taints=one(random, [()], [(Taint(key="spot", effect="NoSchedule"),)]),
            unschedulable=one(random, [False], [True]),
            ready=one(random, [True], [False]),
            lost_since=one(random, [0.0], [1.0]),
        )
        for n in range(one(random, [4, 8, 12], [0, 1]))
    ]


def make_constraint(random: Random, key: str) -> dict[str, Any]:
    constraint: dict[str, Any] = {"topologyKey": key, "maxSkew": random.randint(1, 3)}
    if random.random() < 0.3:
        constraint["minDomains"] = random.randint(1, 3)
    if random.random() < 0.3:
        constraint["maxDomains"] = random.randint(3, 4)
    if random.random() < 0.3:
        constraint["whenUnsatisfiable"] = "ScheduleAnyway"
    return constraint


def make_request(seed: int) -> Request:
    random = Random(seed)
    least = random.randint(1, 4)
    spec = {
        "targets": random.choice([{"all": True}, {"count": {"min": least, "max": least + random.randint(0, 2)}}]),
        "spread": [make_constraint(random, key) for key in random.choice([(), (REGION,), (REGION, ZONE)])],
        "strategy": {
            "type": random.choice(["BestFit", "Spread", "Binpack"]),
            "combine": random.choice(["Weighted", "PolicyFirst", "SchedulerFirst", "Consensus"]),
            "minimumScore": one(random, [0], [45], 0.2),
        },
        "replicas": {"division": random.choice(["Duplicated", "Weighted", "Dynamic", "Aggregated"])},
        "stability": {"rebalance": {"type": random.choice(["Never", "WhenBetter"])}},
    }
    workload = [
        deployment(
            f"w{n}",
            random.choice([None, 0, 1, 3, 7]),
            cpu=one(random, [0.1, 0.5, 1.0], ODD, 0.02),
            memory=one(random, [0.1, 0.5, 1.0], ODD, 0.02),
        )
        for n in range(random.randint(0, 3))
    ]
    previous = random.sample([("root/t00", 1), ("root/t03", 2), ("root/gone", 1)], random.randint(0, 3))
    return request(spec, workload=workload, previous=previous)


seeds = st.integers(0, 2**32)
fleets, requests = seeds.map(make_fleet), seeds.map(make_request)
scores = st.lists(st.floats(0, 100) | st.just(float("nan")), min_size=12, max_size=12)


def wire(outcome: Outcome) -> bytes:
    return msgspec.json.encode((outcome.proposal, sorted(outcome.rejections, key=lambda each: each.message)))


@given(requests, fleets, scores)
def test_every_answer_is_a_valid_proposal_or_a_refusal(asked, fleet, policy) -> None:
    outcome = decide(asked, fleet, policy_scores=policy[: len(fleet)])
    proposal = outcome.proposal
    rejected = [each for rejection in outcome.rejections for each in rejection.targets]
    assert len(rejected) == len(set(rejected)), "a target counts once"
    msgspec.json.decode(msgspec.json.encode(proposal), type=type(proposal))
    if proposal.refusal is not None:
        assert proposal.refusal.message
        assert not proposal.selected
        return
    chosen = [choice.target for choice in proposal.selected]
    alternates = [choice.target for choice in proposal.alternates]
    assert len(set(chosen + alternates)) == len(chosen) + len(alternates)
    assert not set(chosen + alternates) & set(rejected)
    least, most = asked.spec.targets.bounds(proposal.feasible)
    assert least <= len(chosen)
    assert most is None or len(chosen) <= most
    assert len(alternates) <= 32
    for choice in (*proposal.selected, *proposal.alternates):
        assert 0.0 <= choice.score <= 100.0
        if choice.breakdown:
            assert abs(sum(part.weighted for part in choice.breakdown.values()) - choice.score) < 1e-5


@given(requests, fleets)
def test_capacity_is_never_exceeded_and_all_replicas_are_placed(asked, fleet) -> None:
    proposal = decide(asked, fleet).proposal
    clean = {each.id: {k: v for k, v in each.allocatable.items() if 0 < v < float("inf")} for each in fleet}
    used = {each.id: {k: v for k, v in each.allocated.items() if 0 < v < float("inf")} for each in fleet}
    for choice in proposal.selected:
        assert fits(choice.reserve, subtract(clean[choice.target], used[choice.target]))
    counts = [each.replicas for each in asked.workload if each.replicas is not None]
    if proposal.selected and asked.spec.replicas.division != "Duplicated" and max(counts, default=0):
        assert sum(choice.replicas or 0 for choice in proposal.selected) == max(counts)
        assert all(choice.replicas for choice in proposal.selected)


@given(requests, fleets)
def test_the_skew_bound_holds(asked, fleet) -> None:
    outcome = decide(asked, fleet)
    if outcome.proposal.refusal is not None or outcome.feasible is None:
        return
    labels = {each.id: each.labels for each in fleet}
    good = {each.target for each in outcome.scores() if each.score >= asked.spec.strategy.minimum_score}
    for constraint in asked.spec.spread:
        if constraint.when_unsatisfiable != "DoNotSchedule":
            continue
        held = Counter(labels[choice.target][constraint.topology_key] for choice in outcome.proposal.selected)
        domains = {labels[name][constraint.topology_key] for name in good}
        limited = constraint.max_domains is not None and constraint.max_domains < len(domains)
        floor = min(held.values()) if limited else min(held[domain] for domain in domains)
        if not limited or len(held) == constraint.max_domains:
            assert max(held.values()) - floor <= constraint.max_skew
        assert len(held) >= (constraint.min_domains or 1)
        assert constraint.max_domains is None or len(held) <= constraint.max_domains


@given(requests, fleets, st.randoms(use_true_random=False))
@example(make_request(1770909), make_fleet(1028), Random(1))  # found by a flow, on paths that went by domains' numbers
def test_the_order_of_targets_and_how_they_came_in_do_not_matter(asked, fleet, random) -> None:
    expected = wire(decide(asked, fleet))
    assert wire(decide(asked, fleet)) == expected, "deterministic"
    shuffled = random.sample(fleet, len(fleet))
    snapshot = Snapshot()
    snapshot.put(target("passer-by"))
    for each in shuffled:
        snapshot.put(target(each.name))
        snapshot.put(each)
    snapshot.remove("root/passer-by")
    again = decide(asked, fleet, snapshot=snapshot)
    assert wire(again) == expected
    permuted = decide(asked, shuffled).proposal
    assert msgspec.json.encode(permuted) == msgspec.json.encode(decide(asked, fleet).proposal)


@given(st.integers(2, 14), st.integers(1, 6), st.integers(0, 13), st.sampled_from(["BestFit", "Spread"]))
def test_losing_a_target_moves_only_what_was_on_it(size, count, lost, strategy) -> None:
    fleet = [target(f"t{n:02}", region=f"r{n % 3}", allocated={"cpu": float(n % 7)}) for n in range(size)]
    spec = {"targets": {"count": {"min": 1, "max": count}}, "strategy": {"type": strategy}}
    before = [choice.target for choice in decide(request(spec), fleet).proposal.selected]
    left = [each for each in fleet if each.name != f"t{lost:02}"]
    after = {choice.target for choice in decide(request(spec, previous=before), left).proposal.selected}
    assert set(before) - {f"root/t{lost:02}"} <= after


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.integers(0, 6),
    st.integers(1, 60),
    st.sampled_from(["Weighted", "Dynamic", "Aggregated"]),
    st.sampled_from(["BestFit", "Spread", "Binpack"]),
    st.integers(0, 2**32),
)
def test_no_replica_moves_without_a_reason(there, more, replicas, division, strategy, seed) -> None:
    random = Random(seed)
    fleet = [
        target(
            f"t{n}", region=f"r{n % 3}", allocatable={"cpu": float(random.choice([10, 12, 40, 1000])), "pods": 2000.0}
        )
        for n in range(len(there) + more)
    ]
    spec = {
        "targets": random.choice([{"all": True}, {"count": {"min": 1, "max": len(fleet)}}]),
        "strategy": {"type": strategy},
        "replicas": {"division": division},
    }
    previous = [(f"root/t{n}", count) for n, count in enumerate(there)]
    proposal = decide(request(spec, workload=[deployment(replicas=replicas)], previous=previous), fleet).proposal
    if proposal.refusal is not None:
        return
    after = {choice.target: choice.replicas or 0 for choice in proposal.selected}
    gone = sum(max(count - after.get(name, 0), 0) for name, count in previous)
    assert gone == max(sum(there) - replicas, 0), "only what is too many goes"


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 60)), min_size=1, max_size=8),
    st.integers(0, 400),
)
def test_one_replica_more_never_takes_one_from_anybody(parties, seats) -> None:
    weights, room = [weight for weight, _ in parties], [most for _, most in parties]
    names, none = [f"n{n}" for n in range(len(parties))], [0] * len(parties)
    fewer, more = (webster(each, weights, names, room, none) for each in (seats, seats + 1))
    assert all(less <= then for less, then in zip(fewer, more, strict=True))
    assert sum(more) == min(seats + 1, sum(room))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(100, 3000))
def test_the_jump_gives_what_one_by_one_gives(weights, seats) -> None:
    names = [f"n{n}" for n in range(len(weights))]
    counts = [0] * len(weights)
    for _ in range(seats):
        index = min(range(len(weights)), key=lambda n: ((2 * counts[n] + 1) / weights[n], counts[n], names[n]))
        counts[index] += 1
    assert webster(seats, weights, names, [seats] * len(weights), [0] * len(weights)) == counts


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.5, 1.5, 4.0])), max_size=20))
def test_placed_one_after_the_other_reservations_never_exceed_a_target(placements) -> None:
    fleet = [target(f"t{n}") for n in range(4)]
    snapshot = snapshot_of(fleet)
    for number, (replicas, cpu) in enumerate(placements):
        asked = request(workload=[deployment(replicas=replicas, cpu=cpu)], name=f"p{number}")
        for choice in decide(asked, fleet, snapshot=snapshot).proposal.selected:
            taken = Reservation(
                placement=placement(f"p{number}"), head=Head(uid="", generation=1, attempt=1), resources=choice.reserve
            )
            snapshot.reserve(choice.target, taken)
    assert all(snapshot.taken.total(each.id, "cpu") <= 10.0 for each in fleet)
