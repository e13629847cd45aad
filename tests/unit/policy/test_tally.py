"""What is recorded of a policy, values in, values out."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from services.policy.tally import MOST_FINDINGS, MOST_KEPT, UNTOLD, Tallies, Tally, added, checked, holding, is_untold
from shared.api import PlacementPolicySpec, Rule
from shared.model.policy import PolicyEntry, PolicyFinding, RuleResult, RuleTally

POLICY = PolicyEntry(
    workspace="root",
    name="p",
    uid="u",
    generation=2,
    spec=PlacementPolicySpec(rules=(Rule(name="a", expression="true"), Rule(name="b", expression="true"))),
)
FINDING = PolicyFinding(rule="rules[a].expression", line=1, column=1, message="no")


def result(rule: str, evaluated: int = 0, matched: int = 0, errors: int = 0) -> RuleResult:
    return RuleResult(policy="root/p", rule=rule, effect="Require", evaluated=evaluated, matched=matched, errors=errors)


def test_a_policy_that_compiles_has_no_findings_and_counts_from_nothing() -> None:
    check = checked(POLICY, [], None)
    assert (check.workspace, check.name, check.uid, check.generation) == ("root", "p", "u", 2)
    assert (check.findings, check.more, check.counts) == ((), 0, (RuleTally(rule="a"), RuleTally(rule="b")))


def test_the_first_findings_are_recorded_and_the_rest_counted() -> None:
    check = checked(POLICY, [FINDING] * (MOST_FINDINGS + 3), None)
    assert (len(check.findings), check.more) == (MOST_FINDINGS, 3)


def test_a_check_that_did_not_end_is_a_finding() -> None:
    assert checked(POLICY, None, None).findings == (UNTOLD,)


def again(generation: int, uid: str = "u", message: str = "") -> PolicyEntry:
    rules = (Rule(name="a", expression="true", message=message or str(generation)),)
    return PolicyEntry(
        workspace="root", name="p", uid=uid, generation=generation, spec=PlacementPolicySpec(rules=rules)
    )


def test_while_a_policy_does_not_compile_it_holds_as_it_last_did() -> None:
    first, broken, worse, mended = (again(each) for each in range(1, 5))
    record = checked(first, [], None)
    assert holding(first, record) == first
    assert holding(broken, record) is None  # nobody has checked it yet
    record = checked(broken, [FINDING], record)
    assert holding(broken, record) == msgspec.structs.replace(broken, spec=first.spec)
    record = checked(worse, None, record)
    assert holding(worse, record) == msgspec.structs.replace(worse, spec=first.spec)
    assert not is_untold(record, worse)
    record = checked(mended, [], record)
    assert holding(mended, record) == mended


def test_a_policy_that_never_compiled_or_was_made_anew_holds_as_it_is() -> None:
    record = checked(again(1), [FINDING], None)
    assert holding(again(1), record) == again(1)
    anew = again(1, uid="v")
    record = checked(again(1), [], None)
    assert holding(anew, record) == anew
    assert holding(anew, checked(anew, [FINDING], record)) == anew


def test_a_spec_that_is_too_large_is_not_kept() -> None:
    large = again(1, message="x" * MOST_KEPT)
    record = checked(large, [], None)
    assert record.valid is None
    assert holding(again(2), record) == again(2)


def test_counts_are_kept_when_the_check_is_repeated() -> None:
    before = added(checked(POLICY, [], None), Tally(("u", 2), {"b": (3, 2, 1)}))
    assert checked(POLICY, [FINDING], before).counts == before.counts


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))))
def test_what_is_added_in_parts_is_the_sum(seen: list[tuple[str, int, int, int]]) -> None:
    tallies, check = Tallies(), checked(POLICY, [], None)
    for each in seen:
        tallies.add("k", ("u", 2), result(*each))
        if each[1] % 2:
            for tally in tallies.take().values():
                check = added(check, tally)
    for tally in tallies.take().values():
        check = added(check, tally)
    for count in check.counts:
        mine = [each[1:] for each in seen if each[0] == count.rule]
        expected = tuple(sum(column) for column in zip(*mine, strict=True)) if mine else (0, 0, 0)
        assert (count.evaluated, count.matched, count.errors) == expected


def test_rules_that_a_record_does_not_name_are_left_out() -> None:
    check = checked(POLICY, [], None)
    assert added(check, Tally(("u", 2), {"other": (1, 1, 0)})) == check


def test_another_state_of_the_policy_begins_anew() -> None:
    tallies = Tallies()
    tallies.add("k", ("u", 1), result("a", 5))
    tallies.add("k", ("u", 2), result("a", 1))
    assert tallies.take() == {"k": Tally(("u", 2), {"a": (1, 0, 0)})}


def test_what_could_not_be_recorded_is_taken_back_unless_it_is_outdated() -> None:
    tallies, old = Tallies(), Tally(("u", 2), {"a": (1, 1, 0)})
    tallies.put_back("k", old)
    tallies.add("k", ("u", 2), result("a", 2))
    tallies.put_back("k", old)
    tallies.put_back("k", Tally(("u", 1), {"a": (7, 7, 7)}))
    assert tallies.take() == {"k": Tally(("u", 2), {"a": (4, 2, 0)})}


def test_whether_a_check_ended_is_told_apart_by_state() -> None:
    ended, cut = checked(POLICY, [], None), checked(POLICY, None, None)
    assert [is_untold(each, POLICY) for each in (None, ended, cut)] == [False, False, True]
    assert not is_untold(msgspec.structs.replace(cut, generation=1), POLICY)


def test_warnings_are_recorded_beside_and_do_not_keep_a_policy_from_compiling() -> None:
    wrong, doubtful = PolicyFinding(rule="r", message="wrong"), PolicyFinding(rule="r", message="hm", warning=True)
    check = checked(POLICY, [doubtful, wrong, doubtful], None)
    assert (check.findings, check.more, check.warnings) == ((wrong,), 0, (doubtful, doubtful))
    assert len(checked(POLICY, [doubtful] * 99, None).warnings) == MOST_FINDINGS
