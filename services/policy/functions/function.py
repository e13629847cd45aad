"""A function for rules: its signature, what it reads, what it answers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shared.model.target import Target


class FunctionError(ValueError):
    """The function has no answer for these arguments. In a rule it is an error, absorbed by `&&` and `||` as CEL says;
    the text is shown to people, so it names arguments, never other data."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function usable as `name(first, ...)` and as `first.name(...)`.

    `overloads` lists the parameter types of each form. `reads` names the fields of `target` that the answer depends
    on; where `key` is set, only on the entry that this argument names. With `implicit`, the named variable is the
    first argument where the plain form leaves it out. `shortcut` takes what comes after the target and gives a function
    that answers the same straight from the inventory's value object, None where there is no answer: for columns over
    many targets, so it calls nothing.
    """

    name: str
    overloads: tuple[tuple[str, ...], ...]
    result: str
    call: Callable[..., Any]
    description: str
    example: str
    reads: tuple[str, ...] = ()
    key: int | None = None
    implicit: str = ""
    shortcut: Callable[..., Callable[[Target], Any]] | None = None
