"""The command line: help, exit codes, and errors of one line."""

import subprocess
import sys

import pytest

from services import PIPELINE
from services.cli.main import COMMANDS, main


def run(capsys, *argv):
    """Exit code, standard output and standard error of the command in this process."""
    with pytest.raises(SystemExit) as ended:
        main(argv)
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def test_help_names_every_command(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert [name for name in COMMANDS if f"\n    {name} " not in out and f"\n    {name}\n" not in out] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(capsys, command):
    code, out, _ = run(capsys, command, "--help")
    assert code == 0
    assert f"usage: moorage {command}" in out


@pytest.mark.parametrize("name", PIPELINE)
def test_every_worker_has_help_with_its_settings(capsys, name):
    code, out, _ = run(capsys, "worker", name, "--help")
    assert code == 0
    assert f"usage: moorage worker {name}" in out
    assert "[MOORAGE_NATS_URL]" in out


def test_an_unknown_setting_of_a_worker_is_named_without_listing_all_others(capsys):
    code, _, err = run(capsys, "worker", "scheduler", "--patience", "3")
    assert code == 2
    assert "unrecognized arguments: --patience 3" in err
    assert err.count("\n") <= 3


def test_nats_that_is_not_there_is_named_without_its_password_and_exit_code_1(capsys, monkeypatch):
    monkeypatch.setattr("services.cli.support.broker.CONNECT_TIMEOUT", 0.05)
    code, out, err = run(capsys, "dead", "list", "--nats-url", "nats://anna:hunter2@127.0.0.1:1")
    assert (code, out) == (1, "")
    assert "no NATS answers at nats://127.0.0.1:1" in err
    assert "hunter2" not in err


@pytest.mark.parametrize(
    ("shell", "code", "said"),
    [
        ("{} > /dev/full", 2, "moorage: output cannot be written: No space left on device"),
        ("{} >&-", 2, "moorage: standard output is closed"),
        ("{} --targets - <&-", 2, "moorage: standard input: is closed"),
        ("{{ {}; echo $? >&2; }} | true", 0, "0"),
    ],
)
def test_output_that_goes_nowhere_ends_in_one_line(tmp_path, shell, code, said):
    (tmp_path / "web.yaml").write_text("kind: Placement\nmetadata: {name: web}\nspec: {manifests: [{kind: A}]}\n")
    moorage = f"{sys.executable} -c 'from services.cli.main import main; main()'"
    schedule = f"{moorage} schedule --placement {tmp_path}/web.yaml --targets {tmp_path}/web.yaml"
    done = subprocess.run(["/bin/sh", "-c", shell.format(schedule)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (code, said)


def test_the_version_is_printed(capsys):
    code, out, _ = run(capsys, "--version")
    assert (code, out.split()[0]) == (0, "moorage")


@pytest.mark.parametrize(
    "argv",
    [
        pytest.param([], id="no command"),
        pytest.param(["nonsense"], id="an unknown command"),
        pytest.param(["up", "--nonsense"], id="an unknown flag"),
        pytest.param(["up", "--nats-port", "many"], id="no number"),
        pytest.param(["worker", "plumber"], id="an unknown worker"),
        pytest.param(["dead", "show"], id="dead show without a sequence"),
        pytest.param(["worker"], id="no worker"),
        pytest.param(["up", "--nats-port", "70000"], id="no port"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(capsys, argv):
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert "usage: moorage" in err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        pytest.param(
            ["world", "apply", "--world", "/nowhere.yaml", "--kubeconfig", "/x", "--targets", "/x"],
            "/nowhere.yaml cannot be read: No such file",
            id="a world that is not there",
        ),
        pytest.param(["install", "kubernetes", "--kubeconfig", "/nowhere"], "/nowhere cannot be read", id="no hub"),
        pytest.param(["uninstall", "kubernetes", "--kubeconfig", "/nowhere"], "/nowhere cannot be read", id="no hub"),
        pytest.param(
            ["sandbox", "fault", "list", "--kubeconfig", "/nowhere"], "/nowhere cannot be read", id="no sandbox"
        ),
        pytest.param(["policy", "check", "/nowhere"], "/nowhere", id="no policy"),
        pytest.param(["schedule", "--targets", "/nowhere", "--placement", "/nowhere"], "/nowhere", id="no plane"),
        pytest.param(["dead", "replay"], "say which messages to replay", id="replay of nothing"),
        pytest.param(["dead", "replay", "1", "--all"], "say which messages to replay", id="replay of one and all"),
        pytest.param(["up", "--scale", "plumber=2"], "--scale plumber=2: it takes NAME=N", id="scale of nobody"),
        pytest.param(["up", "--scale", "policy=0"], "--scale policy=0: it takes NAME=N", id="scale to nothing"),
        pytest.param(["up", "--workers", "policy,plumber"], "--workers: there is no plumber", id="unknown worker"),
        pytest.param(["demo", "--world", "/nowhere.yaml"], "/nowhere.yaml cannot be read: No such file", id="no world"),
        pytest.param(
            ["dead", "list", "--nats-tls-first", "soon"], "--nats-tls-first: expected `bool`", id="unusable setting"
        ),
    ],
)
def test_what_cannot_be_used_is_one_line_and_exit_code_2(capsys, argv, message):
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert err.startswith(f"moorage: {message}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("workspaces: [", "while parsing", id="no YAML"),
        pytest.param("targets: 3", "Expected `array`, got `int` - at `$.targets`", id="not its shape"),
        pytest.param("workspaces: [root:a]", "names no content to apply", id="no content"),
    ],
)
def test_a_world_that_the_demo_cannot_use_is_one_line(capsys, tmp_path, text, message):
    file = tmp_path / "world.yaml"
    file.write_text(text)
    code, _, err = run(capsys, "demo", "--world", str(file))
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_the_demo_takes_no_folder_that_holds_something(capsys, tmp_path):
    (tmp_path / "mine").touch()
    code, _, err = run(capsys, "demo", "--data", str(tmp_path))
    assert code == 2
    assert err == f"moorage: {tmp_path} is not an empty folder, and the demo begins with nothing\n"


def test_the_diagram_is_drawn(capsys):
    code, out, _ = run(capsys, "diagram")
    assert code == 0
    assert out.startswith("flowchart")


def test_help_loads_nothing_heavy():
    heavy = "{'rich', 'nats', 'aiohttp', 'numpy', 'celpy', 'kubernetes_asyncio', 'yaml', 'uvicorn'}"
    code = f"import sys; from services.cli.main import parser; parser(); print(sorted(sys.modules.keys() & {heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout == "[]\n", done.stderr
