"""What is valid and hardly meant is told: Kubernetes versions that are compared as texts."""

import pytest

from services.policy.cel.admission import check_rules, examine, review
from shared.api import PlacementPolicySpec, Rule, Variable

ADVICE = "target.kubernetesVersion is compared letter by letter, and so v1.10 comes before v1.9"


def rule(expression: str, words: str | None = None) -> Rule:
    return Rule(name="r", expression=expression, message_expression=words)


@pytest.mark.parametrize(
    "expression",
    [
        'target.kubernetesVersion >= "v1.9"',
        '"v1.9" < target.kubernetesVersion',
        'target.ready && !(target.kubernetesVersion > "v1.9")',
        'target.kubernetesVersion.substring(1) >= "1.9"',
        'target.kubernetesVersion.replace("v", "").trim() < "1.9"',
    ],
)
def test_a_version_that_is_ordered_as_a_text_is_doubtful(expression: str) -> None:
    (finding,) = examine([rule(expression)])
    assert (finding.warning, finding.diagnostic.message) == (True, ADVICE)
    assert "semver(target.kubernetesVersion, true)" in finding.diagnostic.suggestion
    assert check_rules([rule(expression)]) == []


@pytest.mark.parametrize(
    "expression",
    [
        'semver(target.kubernetesVersion, true).isGreaterThan(semver("1.9.0"))',
        '!semver(target.kubernetesVersion, true).isLessThan(semver("1.9.0"))',
        'semver(target.kubernetesVersion, true).minor() >= 9 && target.name < "v1.9"',
        'target.kubernetesVersion.startsWith("v1.3") || target.kubernetesVersion == "v1.29.3"',
        "target.kubernetesVersion.size() > 3",
        "int(target.kubernetesVersion.substring(3, 5)) > 9",
    ],
)
def test_versions_that_are_compared_as_versions_are_not(expression: str) -> None:
    assert examine([rule(expression)]) == []


def test_it_is_told_where_it_is_written() -> None:
    old = (("old", 'target.kubernetesVersion < "v1.9"'), ("version", "target.kubernetesVersion"))
    found = examine([rule("!variables.old"), rule('variables.version > "v2"')], old)
    assert [each.where for each in found] == ["variables[old].expression", "rules[r].expression"]
    assert (found[0].diagnostic.line, found[0].diagnostic.column) == (1, 1)


def test_a_broken_variable_hides_warnings_of_rules() -> None:
    found = examine([rule('target.kubernetesVersion > "v2"')], (("broken", "target.reigon"),))
    assert [each.warning for each in found] == [False]


def test_what_is_recorded_says_which_are_warnings() -> None:
    spec = PlacementPolicySpec(
        rules=(rule('target.kubernetesVersion > "v2" || variables.ready'),),
        variables=(Variable(name="ready", expression="target.ready"),),
    )
    (finding,) = review(spec)
    assert (finding.rule, finding.warning, finding.message) == ("rules[r].expression", True, ADVICE)
