"""Every choice of targets is tried for small divided placements: what exists is never refused, and each bound holds."""

from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from random import Random
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from services.scheduler.core import Outcome
from shared.model.target import Target
from tests.unit.scheduler.builders import REGION, decide, deployment, request, target

MANY = 1 << 20


class DividedCase:
    """Up to six targets with room for few replicas, under counts, bounds per target, weights and a spread."""

    def __init__(self, seed: int) -> None:
        random = Random(seed)
        size = random.randint(1, 6)
        self.room = [random.choice([1, 2, 3, 5, 8, 20]) for _ in range(size)]
        self.wanted = random.randint(1, 20)
        fewest = random.randint(1, size)
        most = random.randint(fewest, size)
        everywhere = random.random() < 0.2
        self.fewest, self.most = (1, size) if everywhere else (fewest, most)
        least, limit = random.choice([None, None, 1, 2, 3]), random.choice([None, None, 4, 9])
        self.least, self.limit = least or 1, limit or MANY
        self.skew = random.choice([None, None, 1, 2])
        self.regions = [f"r{random.randrange(3)}" for _ in range(size)]
        bounds = {"minPerTarget": least, "maxPerTarget": limit}
        weights = [{"target": {"name": f"t{n}"}, "weight": random.choice([1, 2, 50])} for n in range(size)]
        division = random.choice(["Weighted", "Dynamic", "Aggregated"])
        self.spec: dict[str, Any] = {
            "targets": {"all": True} if everywhere else {"count": {"min": fewest, "max": most}},
            "strategy": {"type": random.choice(["BestFit", "Spread", "Binpack"])},
            "replicas": {"division": division, **{name: each for name, each in bounds.items() if each is not None}},
            "spread": [] if self.skew is None else [{"topologyKey": REGION, "maxSkew": self.skew}],
        }
        if division == "Weighted":
            self.spec["replicas"]["weights"] = weights
        self.previous = [
            (f"root/t{n}", random.randint(1, room)) for n, room in enumerate(self.room) if random.random() < 0.35
        ]

    @property
    def fleet(self) -> list[Target]:
        return [
            target(f"t{n}", region=region, allocatable={"cpu": float(room), "pods": 1000.0})
            for n, (room, region) in enumerate(zip(self.room, self.regions, strict=True))
        ]

    @property
    def running(self) -> dict[int, int]:
        return {int(name[-1]): count for name, count in self.previous}

    def most_that_stays(self, taken: tuple[int, ...]) -> int:
        """How many replicas can stay if these are taken: each has its least first, then what runs there stays."""
        shares = dict.fromkeys(taken, self.least)
        left = self.wanted - sum(shares.values())
        for n in taken:
            more = min(max(min(self.running.get(n, 0), self.room[n], self.limit) - self.least, 0), left)
            shares[n] += more
            left -= more
        return sum(min(share, self.running.get(n, 0)) for n, share in shares.items())

    def outcome(self) -> Outcome:
        workload = [deployment(replicas=self.wanted, cpu=1.0)]
        return decide(request(self.spec, workload=workload, previous=self.previous), self.fleet)

    def even(self, taken: tuple[int, ...], fitting: list[int]) -> bool:
        held = Counter(self.regions[each] for each in taken)
        least = min(held[region] for region in {self.regions[each] for each in fitting})
        return self.skew is None or max(held.values()) - least <= self.skew

    def choices(self) -> Iterator[tuple[int, ...]]:
        fitting = [n for n, room in enumerate(self.room) if room >= min(self.least, self.wanted)]
        for count in range(self.fewest, min(self.most, len(fitting)) + 1):
            for taken in combinations(fitting, count):
                room = sum(min(self.room[each], self.limit) for each in taken)
                if count * self.least <= self.wanted <= room and self.even(taken, fitting):
                    yield taken


@given(st.integers(0, 2**40))
def test_what_can_be_divided_is_and_every_bound_holds(seed: int) -> None:
    case = DividedCase(seed)
    proposal = case.outcome().proposal
    choices = set(case.choices())
    assert (proposal.refusal is None) == bool(choices), proposal.refusal
    if proposal.refusal is None:
        shares = {int(choice.target[-1]): choice.replicas or 0 for choice in proposal.selected}
        assert tuple(sorted(shares)) in choices
        assert sum(shares.values()) == case.wanted
        assert all(case.least <= share <= min(case.room[n], case.limit) for n, share in shares.items())


@given(st.integers(0, 2**40))
@example(1194)  # one that nobody needs got a replica of its own for the sake of the spread
@example(147)  # one with fewer than the least was filled up from another
@example(12225053041)  # of as few as may be, one more in which nothing runs took a replica from one in which some do
def test_no_replica_moves_that_could_stay(seed: int) -> None:
    case = DividedCase(seed)
    proposal = case.outcome().proposal
    if proposal.refusal is None:
        shares = {int(choice.target[-1]): choice.replicas or 0 for choice in proposal.selected}
        stay = sum(min(shares.get(n, 0), count) for n, count in case.running.items())
        assert stay == max(case.most_that_stays(taken) for taken in case.choices())
