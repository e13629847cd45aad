"""`moorage env`: what `moorage up` left there, as variables."""

import shlex
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.cli.main import main
from services.cli.support.local import CONTEXT
from services.cli.support.plan import Endpoints

PLACE = Endpoints(nats="nats://h:1", kubeconfig="/a b/hub", targets={}, users={"anna": "/u/it's"}, pids={}, logs="/l")


def run(capsys: Any, *argv: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(("env", *argv))
    out, err = capsys.readouterr()
    return int(str(ended.value.code)), out, err


@pytest.fixture
def data(tmp_path: Path) -> str:
    (tmp_path / CONTEXT).write_bytes(msgspec.json.encode(PLACE))
    return str(tmp_path)


def test_paths_are_quoted_for_the_shell(capsys: Any, data: str) -> None:
    code, out, _ = run(capsys, "--data", data)
    assert code == 0
    assert "export KUBECONFIG='/a b/hub'\n" in out
    _, out, _ = run(capsys, "--data", data, "--user", "anna")
    assert dict(word.split("=", 1) for line in out.splitlines() for word in shlex.split(line)[1:]) == {
        "MOORAGE_NATS_URL": "nats://h:1",
        "MOORAGE_KUBECONFIG": "/u/it's",
        "KUBECONFIG": "/u/it's",
        "MOORAGE_TARGET_ALLOW": "127.0.0.0/8,::1/128",
        "MOORAGE_USER": "anna",
    }


def test_fish_has_its_own_way(capsys: Any, data: str) -> None:
    assert "set -gx MOORAGE_NATS_URL nats://h:1\n" in run(capsys, "--data", data, "--shell", "fish")[1]


def test_what_cannot_be_told_is_one_line(capsys: Any, data: str, tmp_path: Path) -> None:
    assert run(capsys, "--data", data, "--user", "bob")[::2] == (
        2,
        "moorage: there is no user bob; the users are anna\n",
    )
    (tmp_path / CONTEXT).write_text("{")
    assert run(capsys, "--data", data)[0] == 2
    assert run(capsys, "--data", str(tmp_path / "none"))[0] == 1
