"""The command line: help, exit codes, and errors of one line."""

import subprocess
import sys

import pytest

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
    argv = [command, "--help"] if command != "worker" else [command, "scheduler", "--help"]
    code, out, _ = run(capsys, *argv)
    assert code == 0
    assert "usage: moorage" in out


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
    ],
)
def test_a_wrong_command_line_is_exit_code_2(capsys, argv):
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert "usage: moorage" in err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        pytest.param(["up", "--scale", "plumber=2"], "--scale plumber=2: it takes NAME=N", id="scale of nobody"),
        pytest.param(["up", "--scale", "policy=0"], "--scale policy=0: it takes NAME=N", id="scale to nothing"),
        pytest.param(["up", "--workers", "policy,plumber"], "--workers: there is no plumber", id="unknown worker"),
        pytest.param(["demo", "--world", "/nowhere.yaml"], "/nowhere.yaml cannot be read: No such file", id="no world"),
        pytest.param(
            ["dead", "list", "--drain-seconds", "soon"], "--drain-seconds: expected `float`", id="unusable setting"
        ),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_1(capsys, argv, message):
    code, out, err = run(capsys, *argv)
    assert (code, out) == (1, "")
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
    assert code == 1
    assert message in err
    assert err.count("\n") == 1


def test_the_demo_takes_no_folder_that_holds_something(capsys, tmp_path):
    (tmp_path / "mine").touch()
    code, _, err = run(capsys, "demo", "--data", str(tmp_path))
    assert code == 1
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
