"""examples/policies: each policy there has a test, and passes it."""

import pytest
import yaml

from services.cli.main import main
from shared.api.generate.__main__ import ROOT
from tests.unit.api.test_examples import LIBRARY

POLICIES = ROOT / "examples" / "policies"
TESTS = POLICIES / "tests"


def moorage(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["policy", "test", *arguments])
    return int(ended.value.code or 0)


def test_every_policy_is_what_its_test_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert moorage(str(TESTS)) == 0, capsys.readouterr().out
    assert ", 0 failed" in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(LIBRARY))
def test_a_policy_of_the_library_is_shown_both_ways(name: str) -> None:
    assert moorage(str(TESTS / f"{name}.yaml"), "--require-coverage") == 0


def test_no_policy_is_without_a_test() -> None:
    tested = {
        (path.parent / policy).resolve()
        for path in TESTS.glob("*.yaml")
        for document in yaml.safe_load_all(path.read_text())
        for policy in document.get("policies", ())
    }
    assert tested == set(POLICIES.glob("*.yaml"))
