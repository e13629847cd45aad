"""The command line: help, exit codes, and errors of one line."""

import argparse
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services import PIPELINE
from services.cli.main import COMMANDS, leaves, main, parser
from services.cli.reference import PAGE, page, table
from services.cli.support.settings import TABLE
from tests.support.process import BIN


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


ASKING = ("--workspace", "root:team", "--user", "alice")
HELLO = str(Path(__file__).parents[3] / "examples/events/hello.yaml")


@pytest.mark.parametrize(
    "command",
    [
        ("place", "-f", HELLO, *ASKING),
        ("decide", "-f", HELLO, *ASKING),
        ("withdraw", "hello", *ASKING),
        ("events", *ASKING[:2]),
        ("wait", "hello", "--for", "Ready", *ASKING[:2]),
        ("dead", "list"),
        ("provision",),
    ],
    ids=lambda command: command[0],
)
def test_every_command_that_needs_nats_ends_soon_where_there_is_none(capsys, monkeypatch, command):
    """Also where something listens that never says a word, which a library may wait for without end."""
    monkeypatch.setattr("services.cli.support.broker.CONNECT_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"nats://127.0.0.1:{silent.getsockname()[1]}"
        code, out, err = run(capsys, *command, "--nats-url", url)
    assert (code, out) == (1, "")
    assert err.startswith(f"moorage: no NATS answers at {url} within 0.2 s (")
    assert err.endswith("see that it runs, and give its address as --nats-url or MOORAGE_NATS_URL\n")


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


@pytest.mark.parametrize("argv", [("--version",), ("version",)])
def test_the_version_is_printed(capsys, argv):
    code, out, _ = run(capsys, *argv)
    assert (code, out.split()[0]) == (0, "moorage")


def test_the_version_is_json_for_programs(capsys):
    code, out, _ = run(capsys, "version", "-o", "json")
    assert (code, sorted(json.loads(out))) == (0, ["moorage", "python"])


@pytest.mark.parametrize("argv", [("explain",), ("dead", "list")])
def test_help_of_a_command_is_what_its_flag_prints(capsys, argv):
    assert run(capsys, "help", *argv) == run(capsys, *argv, "--help")


@pytest.mark.parametrize(
    ("argv", "meant"),
    [
        (("explan",), "explain"),
        (("dead", "lst"), "list"),
        (("worker", "schedular"), "scheduler"),
        (("explain", "--tagret", "a"), "--target"),
        (("dead", "list", "--nats-ulr=x"), "--nats-url"),
    ],
)
def test_what_is_nearest_to_an_unknown_word_is_named(capsys, argv, meant):
    code, _, err = run(capsys, *argv)
    assert code == 2
    assert f"did you mean {meant}" in err


@pytest.mark.parametrize(
    ("argv", "flag"),
    [
        (("explain", "-o", "json", "-o", "yaml"), "-o"),
        (("explain", "-n", "a", "--namespace", "b"), "--namespace"),
        (("dead", "list", "--nats-url", "a", "--nats-url", "b"), "--nats-url"),
    ],
)
def test_a_flag_that_is_given_twice_is_refused(capsys, argv, flag):
    code, _, err = run(capsys, *argv)
    assert code == 2
    assert f"{flag} is given twice" in err


def test_help_loads_no_command():
    code = (
        "import sys; from services.cli.main import parser; parser(['--help']);"
        "print(*(n for n in sys.modules if 'cli.' in n))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    loaded = {each.removeprefix("services.cli.") for each in done.stdout.split()}
    assert loaded == {"main", "support", "support.errors", "support.output"}, done.stderr


def test_the_page_of_commands_is_current():
    assert PAGE.read_text() == page(), "run python -m services.cli.reference"
    assert TABLE.read_text() == table(), "run python -m services.cli.reference"


@pytest.mark.parametrize(
    ("line", "among"),
    [("moorage expl", "explain"), ("moorage explain --tar", "--target"), ("moorage dead sh", "show")],
)
def test_shells_complete_commands_and_flags(tmp_path, line, among):
    answer = tmp_path / "answer"
    asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(answer)}
    env = {**os.environ, **asked, "COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9"}
    subprocess.run([str(BIN / "moorage")], env=env, timeout=60)
    assert among in answer.read_text().split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_is_told_how_to_ask(capsys, shell):
    code, out, _ = run(capsys, "completion", shell)
    assert code == 0
    assert "_ARGCOMPLETE" in out
    assert "kubectl-moorage" in out


def test_kubectl_finds_the_command_as_its_plugin():
    env = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([str(BIN / "kubectl"), "moorage", "version"], capture_output=True, text=True, env=env)
    assert (done.returncode, done.stdout.split()[0]) == (0, "moorage"), done.stderr


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
    heavy = "{'rich', 'nats', 'aiohttp', 'numpy', 'celpy', 'kubernetes_asyncio', 'yaml'}"
    code = f"import sys; from services.cli.main import parser; parser(); print(sorted(sys.modules.keys() & {heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout == "[]\n", done.stderr


MOST_MODULES = 100
"""That help of one command loads. What Python itself and argparse load is some 70."""
AT_WORK = {
    "msgspec",
    "shared.api",
    "asyncio",
    "ssl",
    "subprocess",
    "nats",
    "aiohttp",
    "numpy",
    "yaml",
    "uvloop",
    "shared.kube.client",
}
"""What only a command that runs needs."""


def test_help_of_each_command_waits_for_nothing_that_only_running_it_needs() -> None:
    """Counted, not timed. What only runs is loaded when it runs."""
    code = (
        "import contextlib, io, sys\n"
        "there = set(sys.modules)\n"
        "from services.cli.main import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    main([*sys.argv[1:], '--help'])\n"
        "print(*sys.modules.keys() - there)"
    )
    asked = [tuple(name.split()) for name, _ in leaves(parser(), "")]

    def loaded(words: tuple[str, ...]) -> set[str]:
        argv = [sys.executable, "-c", code, *words]
        return set(subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout.split())

    with ThreadPoolExecutor(2) as pool:
        found = {" ".join(words): modules for words, modules in zip(asked, pool.map(loaded, asked), strict=True)}
    assert {name: modules & AT_WORK for name, modules in found.items() if modules & AT_WORK} == {}
    assert {name: len(modules) for name, modules in found.items() if len(modules) > MOST_MODULES} == {}


def _actions(of: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in of._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from _actions(each)


def test_what_is_left_out_is_taken_by_the_option_itself() -> None:
    """argparse reads a default that is text as if it had been given."""
    for action in _actions(parser()):
        if isinstance(action.default, str) and callable(action.type) and action.default is not argparse.SUPPRESS:
            action.type(action.default)
