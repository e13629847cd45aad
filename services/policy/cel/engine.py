"""Compiles rules once, and evaluates them over targets."""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.policy.cel import reference
from services.policy.cel.expand import Node, expand
from services.policy.core import ERROR, Outcomes
from services.policy.diagnostics import Diagnostic, InvalidExpression
from services.policy.variables import read_target
from shared.api import Variable
from shared.model import Target

PROGRAMS = 1_000
"""Compiled expressions that are kept, least recently used first out."""


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled expression, with its policy's variables in place."""

    digest: str
    tree: Node


class Engine:
    """Rules in, outcomes out."""

    def __init__(self) -> None:
        self._programs: OrderedDict[str, Program | InvalidExpression] = OrderedDict()

    def compile(self, expression: str, variables: Sequence[Variable] = ()) -> Program:
        """The compiled expression, from the cache where it was compiled before.

        Raises `InvalidExpression`; that is remembered as well, so that a broken rule costs once.
        """
        digest = _digest(expression, variables)
        known = self._programs.get(digest)
        if known is None:
            try:
                known = Program(digest, _tree(expression, variables))
            except InvalidExpression as error:
                known = error
            self._programs[digest] = known
            if len(self._programs) > PROGRAMS:
                self._programs.popitem(last=False)
        else:
            self._programs.move_to_end(digest)
        if isinstance(known, InvalidExpression):
            raise InvalidExpression(known.diagnostics)
        return known

    async def outcomes(
        self, program: Program, targets: Sequence[Target], context: Mapping[str, Any], now: float
    ) -> tuple[Outcomes, str]:
        """One outcome per target, and what went wrong on the first that failed."""
        shared = {name: reference.to_cel(value) for name, value in context.items()}
        outcomes = np.empty(len(targets), dtype=np.uint8)
        first = ""
        for row, target in enumerate(targets):
            variables = {**shared, "target": reference.to_cel(read_target(target, now))}
            outcome, message = reference.verdict(program.tree, variables)
            outcomes[row] = ord(outcome)
            if outcomes[row] == ERROR:
                first = first or message
        return outcomes, first


def _digest(expression: str, variables: Sequence[Variable]) -> str:
    parts = [expression, *(part for variable in variables for part in (variable.name, variable.expression))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _tree(expression: str, variables: Sequence[Variable]) -> Node:
    """The expression's tree; each variable may use those before it."""
    trees: dict[str, Node] = {}
    for variable in variables:
        try:
            trees[variable.name] = expand(reference.parse(variable.expression), trees)
        except InvalidExpression as error:
            where = error.diagnostics[0]
            raise InvalidExpression(
                [
                    Diagnostic(
                        where.line, where.column, f"in variable {variable.name}: {where.message}", where.suggestion
                    )
                ]
            ) from None
    return expand(reference.parse(expression), trees)
