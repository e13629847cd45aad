"""Why a better score was passed over: a rule is named for each, and it is the one that decided."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.choosing import choose
from services.scheduler.passing import passed_over
from tests.unit.scheduler.builders import REGION, decide, deployment, request, target
from tests.unit.scheduler.test_brute_force import make_contest


@given(st.integers(0, 2**40).map(make_contest), st.booleans())
def test_whatever_scores_more_than_what_is_taken_has_a_rule_against_it(contest, few) -> None:
    chosen = choose(contest, few=few)
    if not chosen.will_do or contest.stays is not None or not len(chosen.taken):
        return
    lowest = int(chosen.taken[contest.totals[chosen.taken].argmin()])
    others = [each for each in contest.order.tolist() if each not in set(chosen.taken.tolist())]
    for each in others:
        if contest.totals[each] > contest.totals[lowest]:
            said = passed_over(contest, chosen.taken, each, lowest)
            assert said != "the targets suit better together"


def passed(outcome):
    return {each.target.removeprefix("root/"): each.passed_over for each in outcome.proposal.alternates}


FULL = {"cpu": 5.0}


@pytest.mark.parametrize(
    ("spec", "previous", "rule"),
    [
        ({"strategy": {"type": "Spread"}, "targets": {"count": {"min": 2, "max": 2}}}, [],
         f"targets are spread over {REGION}"),
        ({"spread": [{"topologyKey": REGION}], "targets": {"count": {"min": 2, "max": 2}}}, [],
         f"the spread over {REGION} must hold"),
        ({"stability": {"stickiness": 0}}, ["root/b"], "the placement runs there already, and what runs is not moved"),
        ({"stability": {"stickiness": 0, "rebalance": {"type": "WhenBetter", "by": 60}}}, ["root/b"],
         "the placement runs there already, and a move has to gain 60 points (stability.rebalance)"),
    ],
)  # fmt: skip
def test_the_rule_that_decided_is_named(spec, previous, rule) -> None:
    fleet = [target("a1", region="a"), target("a2", region="a", allocated={"cpu": 1.0})]
    fleet.append(target("b", region="b", allocated=FULL))
    outcome = decide(request(spec, previous=previous), fleet)
    (lowest,) = (each for each in outcome.proposal.selected if each.target == "root/b")
    assert passed(outcome)["a2"] == f"passed over for root/b ({lowest.score:.1f}): {rule}"
    assert all(not each.passed_over for each in outcome.proposal.selected)


def test_where_one_has_more_room_that_decides() -> None:
    fleet = [target("small", allocated={"cpu": 7.0}, usage={"cpu": 0.0}), target("big", usage={"cpu": 9.0})]
    spec = {"replicas": {"division": "Aggregated"}, "strategy": {"scorers": [{"name": "Load"}]}}
    outcome = decide(request(spec, workload=[deployment(replicas=5, cpu=1.0)]), fleet)
    assert passed(outcome)["small"].endswith("it has more room, and with the other one the replicas would not fit")


def test_nobody_is_passed_over_who_scores_less_or_as_much() -> None:
    outcome = decide(request(), [target("full", allocated=FULL), target("empty"), target("same")])
    assert set(passed(outcome).values()) == {""}


def test_what_is_short_is_told_in_numbers() -> None:
    fleet = [target("a", allocated={"cpu": 9.5}), target("b", allocated={"cpu": 8.7}), target("c", allocatable={})]
    outcome = decide(request(workload=[deployment(cpu=2.0)]), fleet)
    (cpu,) = (each for each in outcome.rejections if each.message == "insufficient cpu")
    assert cpu.detail == "needs 2, the most that one of them has left is 1.3"
    assert len(cpu.targets) == 3
