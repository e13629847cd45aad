"""Every choice of small contests is tried: none that exists is missed, and the best of them is taken."""

from collections.abc import Iterator
from itertools import combinations
from random import Random

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from services.scheduler.choosing import choose
from services.scheduler.selection import Contest, Domains

Worth = tuple[int, int, int, float]


def make_contest(seed: int, *, wishes: bool = False) -> Contest:
    """Up to seven candidates under up to three constraints, with or without room to be found and replicas that run."""
    random = Random(seed)
    size = random.randint(1, 7)
    fewest = random.randint(1, min(size, 4))
    most = random.randint(fewest, size)
    divided = random.random() < 0.6
    kept = random.randint(1, size) if random.random() < 0.3 else 0
    capacity = np.array([random.randint(1, 12) for _ in range(size)])
    held = np.array([(min(random.randint(1, 6), room) if divided else 1) for room in capacity])
    held[kept:] = 0
    totals = np.array([float(random.randint(0, 100)) for _ in range(size)])
    # As the scheduler ranks them: what is there already first, and where some of it has to go, where most runs.
    by_total = sorted(range(size), key=lambda each: (each >= kept, -totals[each]))
    order = sorted(by_total, key=lambda each: -held[each]) if kept > most else by_total
    domains = tuple(make_domains(random, size, wishes) for _ in range(random.randint(0, 3)))
    replicas = random.randint(1, 30) if divided else None
    least = random.choice([0, 0, 1, 2, 3])
    if replicas is None or fewest * least > replicas:
        least = 0
    elif least:  # as the scheduler has it: the least finds room everywhere, and there is enough for all
        most, capacity = min(most, replicas // least), np.maximum(capacity, least)
    return Contest(
        order=np.array(order),
        kept=kept,
        domains=domains,
        fewest=fewest,
        most=most,
        capacity=capacity if divided else np.zeros(size, np.intp),
        held=held,
        totals=totals,
        replicas=replicas,
        least=least,
    )


def make_domains(random: Random, size: int, wishes: bool) -> Domains:
    of = np.unique([random.randrange(4) for _ in range(size)], return_inverse=True)[1].ravel()
    count = int(of.max()) + 1
    least = random.randint(1, min(count, 3)) if random.random() < 0.3 else 1
    most = random.randint(least, 3) if random.random() < 0.4 else None
    must = not (wishes and random.random() < 0.5)
    return Domains(of, count, random.randint(1, 3), least, most, must)


def allowed(contest: Contest, taken: tuple[int, ...]) -> bool:
    """The rules as docs/scheduler.md states them, in the plainest words."""
    if contest.replicas is not None and sum(int(contest.capacity[each]) for each in taken) < contest.replicas:
        return False
    for each in contest.domains:
        if not each.must:
            continue
        held = [sum(int(each.of[target]) == domain for target in taken) for domain in range(each.count)]
        used = [count for count in held if count]
        if len(used) < each.min_domains or (each.max_domains is not None and len(used) > each.max_domains):
            return False
        limited = each.max_domains is not None and each.max_domains < each.count
        if max(held) - min(used if limited else held) > each.max_skew:
            return False
    return True


def choices(contest: Contest) -> Iterator[tuple[int, ...]]:
    for count in range(contest.fewest, contest.most + 1):
        yield from (each for each in combinations(range(len(contest.order)), count) if allowed(contest, each))


def worth(contest: Contest, taken: tuple[int, ...], few: bool) -> Worth:
    domains = sum(
        len({int(each.of[target]) for target in taken})
        for each in contest.domains
        if each.must and each.max_domains is not None and each.max_domains < each.count
    )
    held = [int(contest.held[each]) for each in taken]
    stay = sum(held)
    if contest.replicas is not None:  # what brings a target up to the least is taken from others
        idle = max(min(contest.fewest, contest.replicas) - sum(each > 0 for each in held), 0)  # they get one each
        short = sum(max(contest.least - each, 0) for each in held) if contest.least else idle
        stay = min(stay, contest.replicas - short)
    return stay, -len(taken) if few else len(taken), domains, sum(float(contest.totals[each]) for each in taken)


seeds = st.integers(0, 2**40)


@given(seeds.map(make_contest), st.booleans(), st.booleans())
def test_what_exists_is_never_refused(contest, few, even) -> None:
    exists = next(choices(contest), None) is not None
    chosen = choose(contest, few=few, even=even)
    assert chosen.exact
    assert chosen.will_do == exists
    if exists:
        taken = tuple(chosen.taken.tolist())
        assert contest.fewest <= len(taken) <= contest.most
        assert len(set(taken)) == len(taken)
        assert allowed(contest, taken)


@given(seeds.map(lambda seed: make_contest(seed, wishes=True)), st.booleans(), st.booleans())
def test_a_wish_never_refuses(contest, few, even) -> None:
    assert choose(contest, few=few, even=even).will_do == (next(choices(contest), None) is not None)


@given(seeds.map(make_contest), st.booleans())
@example(make_contest(840939912), False)  # fewer replicas are wanted than run, in more targets than they run in
def test_what_is_taken_is_the_best_that_exists(contest, few) -> None:
    chosen = choose(contest, few=few)
    if not chosen.will_do or contest.stays is not None:
        return
    few = few or (contest.kept > 0 and contest.replicas is not None)
    best = max(worth(contest, each, few) for each in choices(contest))
    assert worth(contest, tuple(chosen.taken.tolist()), few) == best


@given(seeds, st.booleans(), st.booleans())
def test_no_more_replicas_move_than_have_to_whatever_is_wished(seed, wishes, even) -> None:
    contest = make_contest(seed, wishes=wishes)
    chosen = choose(contest, even=even)
    if chosen.will_do:
        most = max(worth(contest, each, few=False)[0] for each in choices(contest))
        assert contest.retained(chosen.taken) == most
