"""cel-python's grammar, with what CEL has had since: trailing commas, optionals, quoted names, its own string literals.

cel-python's parser is one for the process; it is set here, before anybody else makes it. Each change names the text
that it replaces, so that another version of cel-python is noticed at once.
"""

import re
import sys
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lark
from celpy.celparser import CELParseError, CELParser

from services.policy.cel.guards import scan
from services.policy.language.diagnostics import Diagnostic, InvalidExpression

Tree = lark.Tree[Any]

MAX_DEPTH = 300
"""Levels of a tree: a bracket is ten of them, an operand in a row is one."""

FRAMES = 5_000
"""Python's recursion limit: enough for whoever walks the deepest tree."""

sys.setrecursionlimit(max(FRAMES, sys.getrecursionlimit()))

_ESCAPED = r"""(?:\\[^\n\r]|[^\\{0}\n\r])*"""
_QUOTED = (
    r"""/[rR](?:\"\"\"(?:[^"]|"(?!""))*\"\"\"|'''(?:[^']|'(?!''))*'''|"[^"\n\r]*"|'[^'\n\r]*')/""",
    r"""/(?:\"\"\"(?:\\[\s\S]|[^"\\]|"(?!""))*\"\"\"|'''(?:\\[\s\S]|[^'\\]|'(?!''))*''')/""",
    r'/"' + _ESCAPED.format('"') + r'"/',
    r"/'" + _ESCAPED.format("'") + r"'/",
)

_MEMBERS = """\
member_dot     : member "." (IDENT | QUOTED_IDENT)
member_opt_dot : member "." "?" (IDENT | QUOTED_IDENT)
member_opt_index : member "[" "?" expr "]"
QUOTED_IDENT   : /`[^`\\n\\r]+`/
"""
_LISTS = """\
list_lit       : "[" "]" | "[" _listinits "]" | "[" _listinits "," "]"
_listinits     : listinit | _listinits "," listinit
listinit       : expr | optional
optional       : "?" expr
"""
_MAPS = """\
_mapinits      : mapinit | _mapinits "," mapinit
mapinit        : listinit ":" expr
"""
_REPLACED = (
    ('member_dot     : member "." IDENT\n', _MEMBERS),
    ("| member_object | primary", "| member_object | member_opt_dot | member_opt_index | primary"),
    ('list_lit       : "[" [exprlist] "]"\n', _LISTS),
    ('map_lit        : "{" [mapinits] "}"\n', 'map_lit        : "{" "}" | "{" _mapinits "}" | "{" _mapinits "," "}"\n'),
    ('mapinits       : expr ":" expr ("," expr ":" expr)*\n', _MAPS),
)
"""The listed parts of cel-python's cel.lark, and what stands there instead."""

_STRINGS = re.compile(r"^STRING_LIT .*?(?=^// ESCAPE)", re.MULTILINE | re.DOTALL)


def parse(text: str) -> Tree:
    """cel-python's parse tree. Raises `InvalidExpression`, also where the text exceeds a bound."""
    found = scan(text)
    if found is not None:
        raise InvalidExpression([found])
    _install()
    try:
        tree: Tree = CELParser().parse(text)
    except CELParseError as error:
        raise InvalidExpression([_syntax(text, error)]) from None
    if _depth(tree) > MAX_DEPTH:
        raise InvalidExpression([Diagnostic(1, 1, "too many operands in a row, or nested too deep")])
    return tree


def _depth(tree: Tree) -> int:
    deepest, stack = 0, [(tree, 1)]
    while stack:
        node, depth = stack.pop()
        deepest = max(deepest, depth)
        stack.extend((child, depth + 1) for child in node.children if isinstance(child, lark.Tree))
    return deepest


@lru_cache(maxsize=1)
def _install() -> None:
    """Make cel-python's parser of the changed grammar."""
    CELParser.CEL_PARSER = lark.Lark(
        _grammar(),
        parser="lalr",
        start="expr",
        g_regex_flags=re.MULTILINE,
        lexer_callbacks={"IDENT": CELParser.ambiguous_literals},
        propagate_positions=True,
        maybe_placeholders=False,
        priority="invert",
    )


def _grammar() -> str:
    found = find_spec("celpy")
    assert found is not None
    assert found.submodule_search_locations
    text = (Path(found.submodule_search_locations[0]) / "cel.lark").read_text()
    for old, new in _REPLACED:
        assert text.count(old) == 1, f"cel-python's grammar has changed: {old!r}"
        text = text.replace(old, new)
    quoted = "\n               | ".join(_QUOTED)
    bytes_ = "\n               | ".join(f"/[bB]/ {each}" for each in _QUOTED)
    text, changed = _STRINGS.subn(lambda _: f"STRING_LIT     : {quoted}\n\nBYTES_LIT      : {bytes_}\n\n", text)
    assert changed == 1, "cel-python's grammar has changed: string literals"
    return text.replace("MLSTRING_LIT | ", "")


def _syntax(text: str, error: CELParseError) -> Diagnostic:
    lines = text.split("\n")
    token = getattr(error.__context__, "token", None)
    if error.line is None or error.line < 1 or error.column is None or getattr(token, "type", "") == "$END":
        return Diagnostic(len(lines), len(lines[-1]) + 1, "the expression ends too early")
    rest = lines[error.line - 1][error.column - 1 :].split()
    return Diagnostic(error.line, error.column, f"syntax error near `{rest[0][:40]}`" if rest else "syntax error")
