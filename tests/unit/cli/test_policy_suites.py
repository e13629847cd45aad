"""`moorage policy test` with expectations: PolicyTests in files, what passes, what fails, and what is not covered."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from services.cli.main import main
from shared.api.generate.__main__ import ROOT
from tests.support.manifests import exception, obj

HEAD = {"apiVersion": "placement.moorage.io/v1alpha1"}
SCHEMA = json.loads((ROOT / "docs/reference/policytest.json").read_text())

POLICY = yaml.safe_load("""
apiVersion: placement.moorage.io/v1alpha1
kind: PlacementPolicy
metadata: {name: residency}
spec:
  placementSelector: {matchLabels: {data: eu}}
  rules:
  - {name: in-the-eu, expression: 'target.labels["region"] == "eu"', message: European law}
  - {name: big, effect: Prefer, weight: 30, expression: target.nodes > 2}
  - {name: green, effect: Prefer, weight: 70, expression: 'hasLabel(target, "green")'}
  - name: by-night
    effect: Forbid
    expression: 'now.getHours() < 6 && request.user != "root" && !("ops" in request.groups)'
""")
ON_TRIAL = yaml.safe_load("""
apiVersion: placement.moorage.io/v1alpha1
kind: PlacementPolicy
metadata: {name: trial}
spec:
  enforcement: DryRun
  targetSelector: {matchExpressions: [{key: region, operator: Exists}]}
  rules: [{name: not-us, effect: Forbid, expression: 'target.labels["region"] == "us"'}]
""")


def target(name: str, **labels: str) -> dict[str, Any]:
    return {
        **HEAD,
        "kind": "SyncTarget",
        "metadata": {"name": name, "labels": labels},
        "spec": {},
        "status": {"nodes": 3},
    }


def placement(name: str, **labels: str) -> dict[str, Any]:
    workload = [{"apiVersion": "apps/v1", "kind": "Deployment", "name": name}]
    return {**HEAD, "kind": "Placement", "metadata": {"name": name, "labels": labels}, "spec": {"workload": workload}}


TARGETS = [target("eu-1", region="eu", green="yes"), target("us-1", region="us"), target("bare")]
PLACEMENTS = [placement("orders", data="eu"), placement("blog")]
NOON = "2026-11-28T12:00:00Z"  # where nothing says when, the policy goes by the time at which the test runs


def case(*results: dict[str, Any], name: str = "it is so", **fields: Any) -> dict[str, Any]:
    return {"name": name, "placement": "orders", "now": NOON, **fields, "results": list(results)}


class Folder:
    """A folder with policies, targets and placements, in which PolicyTests are run."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._folder = folder
        self._capsys = capsys
        for name, documents in (("policy", [POLICY, ON_TRIAL]), ("targets", TARGETS), ("placements", PLACEMENTS)):
            (folder / f"{name}.yaml").write_text(yaml.dump_all(documents))

    def write(self, *cases: dict[str, Any], **fields: Any) -> dict[str, Any]:
        test = {
            "apiVersion": "test.moorage.io/v1alpha1",
            "kind": "PolicyTest",
            "metadata": {"name": "of-residency"},
            "policies": ["../policy.yaml"],
            "targets": ["../targets.yaml"],
            "placements": ["../placements.yaml"],
            "cases": list(cases),
            **fields,
        }
        (self._folder / "tests").mkdir(exist_ok=True)
        (self._folder / "tests" / "residency.yaml").write_text(yaml.dump(test))
        return test

    def run(self, *cases: dict[str, Any], options: tuple[str, ...] = (), **fields: Any) -> tuple[int, str, str]:
        self.write(*cases, **fields)
        return self.moorage(str(self._folder / "tests"), *options)

    def moorage(self, *arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["policy", "test", *arguments])
        return int(ended.value.code or 0), *self._capsys.readouterr()

    def failures(self, *results: dict[str, Any], **fields: Any) -> list[str]:
        """What is said of one case."""
        code, out, _ = self.run(case(*results, **fields), options=("-o", "json"))
        (said,) = json.loads(out)["cases"]
        assert code == bool(said["failures"])
        failures: list[str] = said["failures"]
        return failures


@pytest.fixture
def tests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Folder:
    return Folder(tmp_path, capsys)


def test_what_is_expected_passes(tests: Folder) -> None:
    code, out, _ = tests.run(
        case(
            {"targets": ["eu-1"], "result": "Kept", "score": 100},
            {"targets": ["us-1"], "result": "Rejected", "rule": "in-the-eu", "message": "European"},
            {"targets": ["us-1"], "rule": "residency/in-the-eu", "outcomes": {"big": True, "not-us": True}},
            {
                "targets": ["bare"],
                "result": "Rejected",
                "error": "no such key",
                "outcomes": {"trial/not-us": "NotCovered"},
            },
        ),
        case({"targets": ["us-1"], "result": "Kept", "outcomes": {"in-the-eu": "NotCovered"}}, placement="blog"),
    )
    assert (code, out.splitlines()[:3]) == (0, ["of-residency", "  ok  it is so", "  ok  it is so"])
    assert "2 passed, 0 failed" in out


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"targets": ["us-1"], "result": "Kept"}, ["us-1: expected Kept, is Rejected by residency/in-the-eu"]),
        ({"targets": ["eu-1"], "result": "Rejected"}, ["eu-1: expected Rejected, is Kept"]),
        ({"targets": ["us-1"], "rule": "by-night"}, [
            "us-1: expected to be rejected by by-night, is Rejected by residency/in-the-eu"
        ]),
        ({"targets": ["us-1"], "message": "English law"}, [
            "us-1: expected the message 'English law', is told European law"
        ]),
        ({"targets": ["eu-1"], "score": 99}, ["eu-1: expected the score 99, has 100.00"]),
        ({"targets": ["us-1"], "score": 30}, ["us-1: expected the score 30, has none"]),
        ({"targets": ["eu-1"], "error": "no key"}, ["eu-1: expected the error 'no key', and nothing went wrong"]),
        ({"targets": ["eu-1"], "outcomes": {"not-us": True}}, ["eu-1: expected not-us to be true, is false"]),
        ({"result": "Rejected", "targets": ["eu-1", "us-1"]}, ["eu-1: expected Rejected, is Kept"]),
    ],
)  # fmt: skip
def test_what_is_otherwise_is_named(tests: Folder, result: dict[str, Any], said: list[str]) -> None:
    assert tests.failures(result) == said


def test_an_error_that_nobody_expects_is_a_failure(tests: Folder) -> None:
    """It rejects, as the rule would: a typing mistake in a label must not pass for what is expected."""
    (said,) = tests.failures({"targets": ["bare"], "result": "Rejected", "rule": "in-the-eu"})
    assert said.startswith("bare: residency/in-the-eu failed: no such key")
    assert tests.failures({"targets": ["bare"], "outcomes": {"in-the-eu": "Error"}}) == []


def test_time_and_requester_are_those_of_the_case_or_of_the_command_line(tests: Folder) -> None:
    night = {"targets": ["eu-1"], "result": "Rejected", "rule": "by-night"}
    day = {"targets": ["eu-1"], "result": "Kept"}
    assert tests.failures(night, now="2026-11-28T03:00:00Z") == []
    assert tests.failures(day, now="2026-11-28T03:00:00Z", groups=["ops"]) == []
    assert tests.failures(day, now="2026-11-28T03:00:00Z", user="root") == []
    asleep = {"name": "at night", "placement": "orders", "results": [night]}
    assert tests.run(asleep, options=("--now", "2026-11-28T03:00:00Z"))[0] == 0
    assert tests.run(asleep, options=("--now", "2026-11-28T03:00:00Z", "--group", "ops"))[0] == 1
    assert tests.run(asleep, options=("--now", "2026-11-28T03:00:00Z", "--user", "root"))[0] == 1
    assert tests.run(asleep, options=("--now", "2026-11-28T13:00:00Z"))[0] == 1


def test_rules_that_no_case_shows_both_ways_are_named(tests: Folder) -> None:
    shown = case({"targets": ["eu-1"], "result": "Kept"})
    code, out, _ = tests.run(shown)
    assert code == 0
    assert [line.split(maxsplit=2) for line in out.splitlines()[-2:]] == [
        ["residency", "big", "never false"],
        ["residency", "by-night", "never true"],
    ]
    assert tests.run(shown, options=("--require-coverage",))[0] == 1
    _, out, _ = tests.run(case({"result": "Kept"}, placement="blog"), options=("-o", "json"))
    lacking = {each["rule"]: each["lacking"] for each in json.loads(out)["coverage"]}
    assert lacking == {**dict.fromkeys(("in-the-eu", "big", "green", "by-night"), "never evaluated"), "not-us": ""}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"targets": ["../missing.yaml"]}, "missing.yaml: No such file or directory"),
        ({"targets": []}, "there is no SyncTarget in it, nor in the files under targets"),
        ({"policies": []}, "there is no PlacementPolicy in it, nor in those under policies"),
        ({"case": {}}, "Object contains unknown field `case`"),
        ({"cases": []}, "Expected `array` of length >= 1"),
        ({"cases": [case({"targets": ["eu-9"], "result": "Kept"})]}, "there is no target 'eu-9'"),
        ({"cases": [case({"rule": "in-eu"})]}, "case 'it is so': there is no rule 'in-eu'"),
        ({"cases": [case({"result": "Kept"}, placement="cart")]}, "there is no Placement 'cart'"),
        ({"cases": [case({"result": "Kept"}, placement="")]}, "there are 2 Placements that '' could mean"),
        ({"cases": [case({"result": "Kept"}, now="2026-11-28T12:00:00")]}, "does not say in which time zone"),
        ({"cases": [case({"result": "Passed"})]}, "Invalid enum value 'Passed' - at `$.cases[0].results[0].result`"),
    ],
)
def test_what_cannot_be_used_is_one_line(tests: Folder, fields: dict[str, Any], said: str) -> None:
    code, out, err = tests.run(**({"cases": [case({"result": "Kept"})]} | fields))
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_an_invalid_rule_fails_before_any_case(tests: Folder, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(yaml.dump(POLICY).replace("target.nodes", "target.knots"))
    code, out, err = tests.run(case({"result": "Kept"}), options=("-o", "json"))
    assert (code, json.loads(out)) == (1, {"cases": [], "coverage": []})
    assert "`target` has no field `knots`" in err


def test_one_file_may_hold_all_and_the_example_stands_for_a_placement(tests: Folder, tmp_path: Path) -> None:
    test = tests.write(
        {"name": "eu only", "now": NOON, "results": [{"targets": ["eu-1"], "result": "Kept"}]},
        policies=[],
        targets=[],
        placements=[],
    )
    whole = tmp_path / "whole.yaml"
    whole.write_text(yaml.dump_all([test, POLICY, *TARGETS]))
    assert tests.moorage(str(whole))[0] == 0


def test_a_folder_without_tests_is_no_success(tests: Folder, tmp_path: Path) -> None:
    assert tests.moorage(str(tmp_path))[0] == 2
    assert tests.moorage(str(tmp_path / "policy.yaml"), "--targets", str(tmp_path / "targets.yaml"))[0] == 1


def test_a_test_in_a_folder_of_a_version_that_nobody_knows_is_refused_beside_others(
    tests: Folder, tmp_path: Path
) -> None:
    passing = case({"result": "Kept"}, placement="blog")
    assert tests.run(passing)[0] == 0
    unknown = {**tests.write(passing), "apiVersion": "test.moorage.io/v9"}
    (tmp_path / "tests" / "unknown.yaml").write_text(yaml.dump(unknown))
    code, _, err = tests.moorage(str(tmp_path / "tests"))
    assert code == 2
    assert "unknown.yaml: PolicyTest: Invalid enum value 'test.moorage.io/v9'" in err


def test_placements_that_a_policy_does_not_select_are_not_judged_by_it(tests: Folder, tmp_path: Path) -> None:
    files = [str(tmp_path / f"{name}.yaml") for name in ("policy", "targets", "placements")]
    _, out, _ = tests.moorage(files[0], "--targets", files[1], "--placement", files[2], "-o", "json")
    judged = {(each["placement"], each["policy"]) for each in json.loads(out)}
    assert judged == {("default/orders", "residency"), ("default/orders", "trial"), ("default/blog", "trial")}


def test_the_schema_says_what_a_test_may_hold(tests: Folder) -> None:
    check = jsonschema_rs.validator_for(SCHEMA)
    check.validate(tests.write(case({"result": "Kept", "outcomes": {"big": True, "green": "Error"}})))
    with pytest.raises(jsonschema_rs.ValidationError):
        check.validate(tests.write(case({"reslut": "Kept"})))


BOTH = ["../policy.yaml", "../granted.yaml"]


def test_exceptions_are_tested_with_their_policies(tests: Folder, tmp_path: Path) -> None:
    match = {"namespaces": ["default"]}
    granted = exception("lift", "residency", "2027-01-01T00:00:00Z", rules=["in-the-eu"], match=match)
    (tmp_path / "granted.yaml").write_text(yaml.dump(granted))
    spared = {"result": "Kept", "exemption": "lift", "outcomes": {"in-the-eu": False}}
    rejected = {"targets": ["us-1"], "result": "Rejected", "rule": "in-the-eu"}
    unasked = {"targets": ["eu-1"], "result": "Kept", "exemption": "lift"}
    code, out, _ = tests.run(
        case({"targets": ["us-1"], **spared}, name="while it lasts"),
        case(rejected, now="2027-01-01T00:00:00Z", name="and no longer"),
        case(unasked, name="that would not be rejected"),
        policies=BOTH,
    )
    assert (code, out.count("  ok  "), out.count("  FAIL  ")) == (1, 2, 1)
    assert "eu-1: expected to be kept by lift, which exempts it from no rule that would reject it" in out
    files = [str(tmp_path / f"{name}.yaml") for name in ("policy", "granted", "targets", "placements")]
    options = ("--targets", files[2], "--placement", files[3], "--now", "2026-12-01T00:00:00Z")
    assert "false, exempt by lift" in tests.moorage(files[0], files[1], *options)[1]


def test_an_exception_from_a_policy_that_is_not_there_is_told(tests: Folder, tmp_path: Path) -> None:
    granted = exception("lift", "residence", match={"namespaces": ["default"]})
    (tmp_path / "granted.yaml").write_text(yaml.dump(granted))
    code, _, err = tests.run(case({"result": "Kept"}), policies=BOTH)
    assert (code, "PolicyException lift: there is no PlacementPolicy residence" in err) == (2, True)


def test_parameters_come_from_the_files_of_policies(tests: Folder, tmp_path: Path) -> None:
    ref = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "namespace": "rules",
        "name": "limits",
        "parameterNotFoundAction": "Deny",
    }
    rule = {"name": "region", "expression": 'target.labels["region"] == params.data.region'}
    policy = {**HEAD, "kind": "PlacementPolicy", "metadata": {"name": "p"}, "spec": {"paramRef": ref, "rules": [rule]}}
    limits = obj("ConfigMap", "v1", name="limits", namespace="rules", data={"region": "us"})
    (tmp_path / "p.yaml").write_text(yaml.dump(policy))
    (tmp_path / "limits.yaml").write_text(yaml.dump(limits))
    expected = case(
        {"targets": ["us-1"], "result": "Kept"},
        {"targets": ["eu-1"], "result": "Rejected", "rule": "region"},
        {"targets": ["bare"], "error": "no such key"},
    )
    assert tests.run(expected, policies=["../p.yaml", "../limits.yaml"])[0] == 0
    missing = case({"error": "ConfigMap rules/limits, its parameters, is not there"})
    assert tests.run(missing, policies=["../p.yaml"])[0] == 0
