"""`moorage context`: systems by name, and what of them holds beside flags and variables."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.cli.main import main
from services.cli.support.contexts import FILE_VARIABLE, LOCAL, apply, changes
from services.cli.support.local import CONTEXT, DEFAULT_DATA
from services.cli.support.plan import Endpoints

PROD = {
    "nats_url": "tls://prod:4222",
    "nats_creds": "/prod.creds",
    "kubeconfig": "/prod.yaml",
    "workspace": "root:prod",
    "user": "anna",
}


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file of contexts of this test's own, and an environment that comes back as it was."""
    before = dict(os.environ)
    for name in [each for each in os.environ if each.startswith("MOORAGE_") or each == "KUBECONFIG"]:
        del os.environ[name]
    file = tmp_path / "config" / "contexts.json"
    os.environ[FILE_VARIABLE] = str(file)
    monkeypatch.chdir(tmp_path)
    yield file
    os.environ.clear()
    os.environ.update(before)


def run(capsys: Any, *argv: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(argv)
    out, err = capsys.readouterr()
    return int(str(ended.value.code)), out, err


def context(capsys: Any, *argv: str) -> tuple[int, str, str]:
    return run(capsys, "context", *argv)


def test_a_context_is_made_changed_listed_shown_used_and_forgotten(capsys: Any, tmp_path: Path) -> None:
    assert (
        context(capsys, "set", "prod", "--nats-url", "nats://p:4222", "--nats-creds", "p.creds", "--user", "anna")[0]
        == 0
    )
    assert context(capsys, "set", "prod", "--workspace", "root:prod", "--user", "")[0] == 0
    assert context(capsys, "use", "prod")[0] == 0
    _, shown, _ = context(capsys, "show", "-o", "json")
    expected = {"nats_url": "nats://p:4222", "nats_creds": str(tmp_path / "p.creds"), "workspace": "root:prod"}
    assert json.loads(shown) == expected
    assert "workspace: root:prod\n" in context(capsys, "show", "prod")[1]
    assert context(capsys, "list", "-o", "name")[1] == "prod\n"
    _, listed, _ = context(capsys, "list")
    assert [line.split()[:3] for line in listed.splitlines()[1:]] == [
        ["*", "prod", "nats://p:4222"],
        ["local", "moorage", "up"],
    ]
    assert context(capsys, "use", "--none")[0] == 0
    assert context(capsys, "show")[0] == 2
    assert context(capsys, "delete", "prod")[0] == 0
    assert json.loads(context(capsys, "list", "-o", "json")[1]) == {"current": "", "contexts": {}}


def test_the_file_is_its_owners_alone(capsys: Any, environment: Path) -> None:
    context(capsys, "set", "prod", "--nats-url", "nats://p")
    assert stat.S_IMODE(environment.stat().st_mode) == 0o600
    assert [each.name for each in environment.parent.iterdir()] == ["contexts.json"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("set", "a", "--nats-url", "nats://anna:hunter2@h"), "an address holds no credentials"),
        (("set", "a", "--nats-creds", "f"), "nats_creds is for an address, nats_url"),
        (("set", "local", "--nats-url", "nats://h"), "cannot be called 'local'"),
        (("use", "b"), "there is no context b; there are local"),
        (("use",), "either NAME, or --none"),
        (("delete", "b"), "there is no context b"),
        (("show", "local"), "context.json is not there"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_without_secrets(capsys: Any, argv: tuple[str, ...], said: str) -> None:
    code, out, err = context(capsys, *argv)
    assert (code in (1, 2), out, err.count("\n")) == (True, "", 1)
    assert said in err
    assert "hunter2" not in err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read"),
        ('{"contexts": {"a": {"nats_url": 1}}}', "cannot be read"),
        (
            '{"contexts": {"a": {"nats_url": "nats://h", "nats_password": "hunter2"}}}',
            "name a file, nats_password_file",
        ),
    ],
)
def test_a_file_that_says_what_it_may_not_is_refused(capsys: Any, environment: Path, content: str, said: str) -> None:
    environment.parent.mkdir()
    environment.write_text(content)
    code, _, err = context(capsys, "list")
    assert (code, said in err, "hunter2" in err) == (2, True, False), err


def test_the_context_in_use_is_beside_what_the_environment_says() -> None:
    found = changes(PROD, {}, {"MOORAGE_WORKSPACE": "root:mine", "KUBECONFIG": "/mine"}, asked_for=False)
    assert found == {
        "MOORAGE_NATS_URL": "tls://prod:4222",
        "MOORAGE_NATS_CREDS": "/prod.creds",
        "MOORAGE_KUBECONFIG": "/prod.yaml",
        "KUBECONFIG": "/prod.yaml",
        "MOORAGE_USER": "anna",
    }


@pytest.mark.parametrize("where", ["flag", "environment"])
def test_credentials_of_a_context_do_not_go_to_another_address(where: str) -> None:
    given = {"nats_url": "nats://other", "kubeconfig": "/other"} if where == "flag" else {}
    there = {"MOORAGE_NATS_URL": "nats://other", "MOORAGE_KUBECONFIG": "/other"} if where == "environment" else {}
    found = changes(PROD, given, there, asked_for=False)
    assert found == {"MOORAGE_WORKSPACE": "root:prod", "MOORAGE_USER": "anna"}


def test_a_context_that_is_asked_for_replaces_what_the_environment_says_of_the_same() -> None:
    there = {"MOORAGE_NATS_URL": "nats://mine", "MOORAGE_NATS_PASSWORD": "mine", "MOORAGE_LAG": "3"}
    found = changes(PROD, {}, there, asked_for=True)
    assert found["MOORAGE_NATS_URL"] == "tls://prod:4222"
    assert found["MOORAGE_NATS_PASSWORD"] is None
    assert "MOORAGE_LAG" not in found


def test_which_context_holds(capsys: Any) -> None:
    for name in ("one", "two", "three"):
        context(capsys, "set", name, "--nats-url", f"nats://{name}")
    context(capsys, "use", "one")

    def leads(name: str | None, **there: str) -> str | None:
        os.environ.update(there)
        apply(name, {})
        found = os.environ.pop("MOORAGE_NATS_URL", None)
        for each in there:
            os.environ.pop(each, None)
        return found

    assert leads(None) == "nats://one"
    assert leads(None, MOORAGE_CONTEXT="two") == "nats://two"
    assert leads("three", MOORAGE_CONTEXT="two", MOORAGE_NATS_URL="nats://mine") == "nats://three"
    assert leads(None, MOORAGE_CONTEXT="two", MOORAGE_NATS_URL="nats://mine") == "nats://mine"
    assert leads("") is None
    assert leads(None, MOORAGE_CONTEXT="") is None


def test_a_password_is_read_from_its_file_and_shown_nowhere(capsys: Any, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    context(capsys, "set", "prod", "--nats-url", "nats://h", "--nats-user", "anna", "--nats-password-file", "secret")
    apply("prod", {})
    assert os.environ["MOORAGE_NATS_PASSWORD"] == "hunter2"
    said = [
        context(capsys, "list", "-o", "json"),
        context(capsys, "show", "prod"),
        run(capsys, "env", "--context", "prod"),
    ]
    assert "hunter2" not in str(said)
    (tmp_path / "secret").unlink()
    code, _, err = run(capsys, "dead", "list", "--context", "prod")
    assert (code, err) == (2, f"moorage: {tmp_path}/secret cannot be read: No such file or directory\n")


def test_local_is_what_runs_in_this_folder(capsys: Any, tmp_path: Path) -> None:
    (tmp_path / DEFAULT_DATA).mkdir()
    place = Endpoints(nats="nats://here:1", kubeconfig="/hub", targets={}, users={}, pids={}, logs="/l")
    (tmp_path / DEFAULT_DATA / CONTEXT).write_bytes(msgspec.json.encode(place))
    assert context(capsys, "use", LOCAL)[0] == 0
    apply(None, {})
    assert (os.environ["MOORAGE_NATS_URL"], os.environ["KUBECONFIG"]) == ("nats://here:1", "/hub")


def test_env_speaks_of_a_context_by_its_name(capsys: Any) -> None:
    context(capsys, "set", "prod", "--kubeconfig", "/p.yaml")
    assert run(capsys, "env", "--context", "prod")[1] == "export MOORAGE_CONTEXT=prod\nexport KUBECONFIG=/p.yaml\n"
    assert run(capsys, "env", "--context", "none")[0] == 2
    assert run(capsys, "env", "--context", "prod", "--user", "anna")[0] == 2
