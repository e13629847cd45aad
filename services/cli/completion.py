"""`moorage completion`: what a shell needs to complete commands and flags; argcomplete answers it."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

PROGRAMS = ["moorage", "kubectl-moorage"]

DESCRIPTION = """\
Print what lets a shell complete commands, flags, and words that flags take.

  source <(moorage completion bash)                                  # in ~/.bashrc
  source <(moorage completion zsh)                                   # in ~/.zshrc, after compinit
  moorage completion fish > ~/.config/fish/completions/moorage.fish
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "completion", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "fish"), help="bash, zsh or fish")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print it."""
    from argcomplete.shell_integration import shellcode

    sys.stdout.write(shellcode(PROGRAMS, shell=args.shell))
    return 0


def answer(parser: Callable[[Sequence[str]], argparse.ArgumentParser]) -> None:
    """Answer the shell, which has asked by the environment, and end; `parser` makes that of one command."""
    import argcomplete

    words = os.environ.get("COMP_LINE", "").split()[1:]
    argcomplete.autocomplete(parser(words))
