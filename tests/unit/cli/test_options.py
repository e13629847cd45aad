"""What flags mean is the same in all commands: a walk over the whole command line."""

import argparse
from collections.abc import Iterator

import pytest

from services.cli.main import COMMANDS, leaves, parser

LONG = {"-o": "--output", "-n": "--namespace", "-A": "--all-"}
"""What a letter stands for, wherever it is."""

SILENT = {
    "demo": "a show",
    "env": "for a shell",
    "completion": "for a shell",
    "diagram": "Mermaid",
    "nats subjects": "a page in Markdown",
    "requests subject": "one subject",
    "examples": "writes files",
    "worker": "logs",
    "sandbox": "its actions have flags of their own",
    "context use": "does, and says so in a line",
    "context set": "does, and says so in a line",
    "context delete": "does, and says so in a line",
    "world apply": "does, and says so in lines",
    "cluster join": "does, and says so in lines",
    "cluster leave": "does, and says so in lines",
    "cluster allow": "does, and says so in lines",
    "cluster cordon": "does, and says so in lines",
    "cluster uncordon": "does, and says so in lines",
    "cluster rotate": "does, and says so in lines",
    "cluster agent": "manifests for kubectl",
    "force": "does, and says so in a line",
    "exclude": "does, and says so in a line",
    "unforce": "does, and says so in a line",
    "evict": "does, and says so in a line",
    "uninstall kubernetes": "does, and says so in lines",
    "uninstall kcp": "does, and says so in lines",
    "provision": "does, and says so in lines",
    "dead replay": "does, and says so in lines",
}
"""The commands that have no -o, and why: all others print what scripts want to read."""

NO_JSON = dict.fromkeys(("install kubernetes", "install kcp", "bind"), "manifests, for kubectl")
OTHER_FOLLOW = {"events": "--follow, as in kubectl logs -f"}


def _leaves() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    top = parser()
    commands = next(each for each in top._actions if isinstance(each, argparse._SubParsersAction))
    for name in COMMANDS:
        for words, each in leaves(commands.choices[name], name):
            if not words.startswith("worker "):
                yield words, each


LEAVES = dict(_leaves())


def options(of: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    return {option: action for action in of._actions for option in action.option_strings}


@pytest.mark.parametrize("name", LEAVES)
def test_a_letter_stands_for_the_same_everywhere(name: str) -> None:
    known = options(LEAVES[name])
    for letter, long in LONG.items():
        if letter in known:
            assert any(each.startswith(long) for each in known[letter].option_strings), letter
    for option, action in known.items():
        short = next(
            (letter for letter, long in LONG.items() if option in (long, f"{long}workspaces", f"{long}namespaces")), ""
        )
        assert not short or short in action.option_strings, f"{option} without {short}"


@pytest.mark.parametrize("name", LEAVES)
def test_what_is_printed_can_be_had_as_json(name: str) -> None:
    output = options(LEAVES[name]).get("-o")
    assert (output is None) == (name in SILENT), "say in SILENT why it has no -o"
    if output is not None and name not in NO_JSON:
        assert output.choices is not None
        assert "json" in output.choices
        assert output.default in output.choices


@pytest.mark.parametrize("name", LEAVES)
def test_files_may_be_several(name: str) -> None:
    known = options(LEAVES[name])
    for action in LEAVES[name]._actions:
        if action.metavar == "FILE" and not action.option_strings:
            assert action.nargs in ("+", "*"), action.dest
    if "-f" in known and name not in OTHER_FOLLOW:
        assert {"--file", "--filename"} <= set(known["-f"].option_strings)
        assert isinstance(known["-f"], argparse._AppendAction)


@pytest.mark.parametrize("name", LEAVES)
def test_times_are_durations_with_units(name: str) -> None:
    known = options(LEAVES[name])
    for option in ("--timeout", "--wait-timeout", "--since", "--grace", "--lag"):
        if option in known:
            assert known[option].metavar == "DURATION", option


@pytest.mark.parametrize("name", LEAVES)
def test_what_connects_takes_a_context(name: str) -> None:
    known = options(LEAVES[name])
    connects = {"--nats-url", "--kubeconfig"} & known.keys()
    if name not in ("up", "env", "context set", "world apply"):
        assert bool(connects) == ("--context" in known)


def test_every_exception_is_of_a_command_that_there_is() -> None:
    commands = {*LEAVES, "worker"}
    assert [each for each in (*SILENT, *NO_JSON, *OTHER_FOLLOW) if each not in commands] == []
