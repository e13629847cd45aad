"""`moorage force`, `exclude` and `unforce`: what they write, and the command lines that they refuse."""

import re
from typing import Any

import pytest
import yaml

from services.cli.hub.overriding import named
from services.cli.main import main
from shared.api import decode_override
from shared.kube.times import seconds

REASON = ("--reason", "it burns")


def run(capsys: Any, *argv: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(argv)
    out, err = capsys.readouterr()
    return int(str(ended.value.code)), out, err


def printed(capsys: Any, *argv: str) -> dict[str, Any]:
    """The object that --dry-run prints; it is one that the API takes."""
    code, out, err = run(capsys, *argv, *REASON, "--dry-run")
    assert code == 0, err
    found: dict[str, Any] = yaml.safe_load(out)
    decode_override(found)
    return found


def test_force_names_the_placement_and_its_targets(capsys: Any) -> None:
    found = printed(capsys, "force", "backend", "west-1", "root:p/east-1", "-n", "shop", "--over-commit")
    assert found["metadata"] == {"name": "force-shop-backend"}
    assert found["spec"] == {
        "type": "Force",
        "placementRef": {"namespace": "shop", "name": "backend"},
        "targets": [{"name": "west-1"}, {"name": "east-1", "workspace": "root:p"}],
        "overCommit": True,
        "reason": "it burns",
    }


def test_exclude_is_about_one_placement_or_about_labels(capsys: Any) -> None:
    one = printed(capsys, "exclude", "west-1", "--placement", "shop/backend", "--priority", "5")
    assert (one["metadata"]["name"], one["spec"]["priority"]) == ("exclude-west-1-shop-backend", 5)
    assert one["spec"]["placementRef"] == {"namespace": "shop", "name": "backend"}
    some = printed(capsys, "exclude", "west-1", "--selector", "tier=batch,app=x", "--name", "power")
    assert some["metadata"]["name"] == "power"
    assert some["spec"]["placementSelector"] == {"matchLabels": {"tier": "batch", "app": "x"}}


def test_an_end_is_a_time_or_so_long_from_now(capsys: Any) -> None:
    lasts = printed(capsys, "force", "web", "a", "--for", "2h")["spec"]["expiresAt"]
    until = printed(capsys, "force", "web", "a", "--until", "2999-01-01T02:00:00+02:00")["spec"]["expiresAt"]
    assert until == "2999-01-01T00:00:00Z"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", lasts)
    assert seconds(lasts) > 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("force", "web", "a"), "--reason"),
        (("force", "web", *REASON), "TARGET"),
        (("force", "web", "a/b/c", *REASON), "TARGET is NAME or WORKSPACE/NAME"),
        (("force", "a/b/web", "a", *REASON), "PLACEMENT is NAME or NAMESPACE/NAME"),
        (("force", "web", "a", *REASON, "--until", "2001-01-01T00:00:00Z"), "is over"),
        (("force", "web", "a", *REASON, "--until", "2999-01-01T00:00:00"), "no time zone"),
        (("force", "web", "a", *REASON, "--until", "tomorrow"), "is no time"),
        (("force", "web", "a", *REASON, "--for", "1h", "--until", "2999-01-01T00:00:00Z"), "not allowed with"),
        (("exclude", "a", *REASON), "--placement --selector is required"),
        (("exclude", "a", *REASON, "--selector", "tier"), "--selector is KEY=VALUE"),
    ],
)
def test_a_command_line_that_cannot_be_used_is_named(capsys: Any, words: tuple[str, ...], says: str) -> None:
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert says in err


def test_names_are_such_as_the_api_takes_and_differ() -> None:
    long = [named("exclude", "x" * 250, each) for each in ("a", "b")]
    assert len(set(long)) == 2
    for name in (*long, named("force", "Shop", "a.b_c")):
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)
        assert len(name) <= 253
