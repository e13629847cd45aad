"""`moorage`: one command for people and scripts.

Exit codes: 0 done; 1 it could not be done, or what was checked is not well; 2 the command line, a setting or a file
that they name cannot be used; of `plan` and `replay`, 3: something is otherwise. One line on standard error says why.
"""

import argparse
import errno
import functools
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, NoReturn

from services.cli.support.errors import CommandError, UsageError
from services.cli.support.output import note

COMMANDS = {
    "demo": "see it work: everything on this machine, real workloads placed, a cluster lost",
    "up": "run everything on this machine until Ctrl-C",
    "env": "where the system is that `moorage up` runs, as variables for a shell",
    "context": "name systems, and say which one commands go to: list, show, use, set, delete",
    "worker": "run one worker",
    "sandbox": "run the development control plane alone, or let one fail",
    "world": "offer the clusters of a world file in its workspaces",
    "examples": "write the examples that the pages speak of into a folder",
    "cluster": "offer clusters, look at them, drain them: join, leave, list, describe, allow, cordon, drain, rotate",
    "place": "ask over NATS that something is placed",
    "withdraw": "ask over NATS that a placement is deleted",
    "decide": "ask over NATS what would be decided, with nothing written",
    "events": "what became of placements, from NATS",
    "wait": "until a placement is Ready, Removed and so on, by its events",
    "requests": "where requests to place are published in NATS",
    "schedule": "what would be decided, on manifests alone",
    "explain": "why a placement is where it is, and why not elsewhere",
    "plan": "what would become of placements if something changed",
    "replay": "whether the last round of a placement would come to the same again, and why not",
    "force": "have a placement run in a target, whatever it scores",
    "exclude": "keep placements out of a target",
    "unforce": "take back what force and exclude did",
    "evict": "have a placement leave one of its targets once, and wait until it has",
    "rebalance": "have placements look for better targets once, and wait until they have moved",
    "rollout": "how far a change is, and whether it goes on: status, pause, resume, approve, undo",
    "trace": "what the workers did in the last round of a placement",
    "policy": "check rules, test them, and see what a change of them would do",
    "install": "prepare a hub for the workers: CRDs, rights, admission",
    "bind": "have a workspace of a kcp use Moorage: its APIs, claims and rights of workers",
    "uninstall": "take back what install applied; what was placed stays",
    "provision": "make streams, consumers and buckets in NATS",
    "nats": "what there is in NATS, and who may do what there",
    "top": "what waits for which worker, and how full the targets are",
    "quota": "how much of the quotas of targets is reserved, by workspace",
    "doctor": "what is wrong with a running system, and what to do",
    "audit": "whether anything is given twice: what is reserved, decided, bound and applied",
    "dead": "list, show and replay messages that were given up",
    "diagram": "print the pipeline as a Mermaid flowchart",
    "completion": "print what lets bash, zsh or fish complete commands and flags",
    "version": "print the version",
}
"""The modules beside this one that are commands, with a line each, in the order of the help text."""

ELSEWHERE = ("up", "demo", "sandbox", "worker", "env", "context")
"""Those that no context leads: they run a system, or speak of contexts themselves."""

DESCRIPTION = """\
Moorage places workloads across workspaces and clusters.

  moorage demo               see it work: everything on this machine, real workloads placed, a cluster lost
  moorage up                 NATS, a sandbox control plane and all workers on this machine, until Ctrl-C
  moorage worker scheduler   one worker, as you would run it in production
"""
EPILOG = """\
`moorage help COMMAND`, or `moorage COMMAND --help`, explains a command. `kubectl moorage COMMAND` is the same.

Exit codes: 0 it is done; 1 it could not be done, or what was checked is not well; 2 the command line, a setting or a
file cannot be used. With -o json, standard output is JSON and nothing else.
"""


class _StoreOnce(argparse._StoreAction):  # noqa: SLF001 - what argparse does by default, which has no other name
    """Refuses a flag that is given twice: the first would be dropped without a word."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        given: set[str] = vars(namespace).setdefault("given_flags", set())
        if option_string is not None and self.dest in given:
            parser.error(f"{option_string} is given twice")
        given.add(self.dest)
        super().__call__(parser, namespace, values, option_string)


class CommandParser(argparse.ArgumentParser):
    """A parser that refuses a flag that is given twice, and names what is near to a word that it does not know."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        for name in (None, "store"):
            self.register("action", name, _StoreOnce)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does it, but the parser of the command itself says what it does not know: it has the flags."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Usage and message on standard error, and exit code 2."""
        super().error(message + _near(message, self.format_help()))


def _near(message: str, help: str) -> str:
    """What may have been meant, of the choices that a message of argparse lists, or of the flags in a help text."""
    import difflib
    import re

    unknown = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
    if unknown:
        word, known = unknown[1], [each.strip("' ") for each in unknown[2].split(",")]
    else:
        word = next((each for each in message.split() if each.startswith("--")), "").partition("=")[0]
        known = re.findall(r"--[a-z][a-z-]+", help) if message.startswith("unrecognized arguments") else []
    near = difflib.get_close_matches(word, dict.fromkeys(known), n=2)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def parser(words: Sequence[str] | None = None) -> CommandParser:
    """The whole command line; or of the command that begins these words all, and of the others the names.

    That takes a fifth of the time: a command is loaded with what its flags need, and no other.
    """
    only = None if words is None else next((each for each in words if not each.startswith("-")), "")
    top = CommandParser(
        prog="moorage",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="store_true", help="print the version, as `moorage version` does")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        if only in (None, name):
            listed = functools.partial(commands.add_parser, help=text)
            importlib.import_module(f"services.cli.{name}").add_parser(SimpleNamespace(add_parser=listed, words=words))
            if name not in ELSEWHERE:
                for _, each in leaves(commands.choices[name], name):
                    _add_context(each)
        else:
            commands.add_parser(name, help=text)
    return top


def leaves(of: argparse.ArgumentParser, name: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """The parsers of what can be run, each with its words: of a command, or of its actions."""
    below = [each for each in of._actions if isinstance(each, argparse._SubParsersAction)]  # noqa: SLF001 - nothing else tells what a parser has
    if not below:
        yield name, of
    for action in below:
        for word, each in action.choices.items():
            yield from leaves(each, f"{name} {word}")


def _add_context(of: argparse.ArgumentParser) -> None:
    """The flag --context, where a command connects to something."""
    connects = {"nats_url", "kubeconfig"}
    if any(each.dest in connects and not each.required for each in of._actions):  # noqa: SLF001 - as above
        of.add_argument(
            "--context", dest="goes_to", metavar="NAME", help="where to go (`moorage context`; default: the one in use)"
        )


def main(argv: Sequence[str] | None = None) -> None:
    """The console script."""
    try:
        code = _run(argv)
    except CommandError as error:
        note(str(error))
        code = error.code
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # `moorage ... | head`
        _drop_output()
        code = 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        _drop_output()
        note(f"output cannot be written: {error.strerror}")
        code = UsageError.code
    sys.exit(code)


def _run(argv: Sequence[str] | None) -> int:
    if sys.stdout is None:
        raise UsageError("standard output is closed")
    args = _parsed(sys.argv[1:] if argv is None else argv)
    import logging  # not before: help is to be there at once

    logging.basicConfig(level="WARNING", format="%(levelname)s %(message)s", stream=sys.stderr)
    if hasattr(args, "goes_to"):
        from services.cli.support.contexts import apply

        apply(args.goes_to, vars(args))
    code = int(args.run(args))
    sys.stdout.flush()
    return code


def _parsed(argv: Sequence[str]) -> argparse.Namespace:
    """`moorage help COMMAND` is `moorage COMMAND --help`, and `moorage --version` is `moorage version`."""
    words = list(argv)
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    if words[:1] == ["--version"]:
        words[0] = "version"
    if "_ARGCOMPLETE" in os.environ:  # the shell asks; see `moorage completion`
        from services.cli.completion import answer

        answer(parser)
    return parser(words).parse_args(words)


def _drop_output() -> None:
    """Let what is still buffered go nowhere: the interpreter would try to write it once more as it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
