"""How async generators may be written: one that is closed while it waits at a `yield` must end by that alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCOPES = {"TaskGroup", "timeout", "timeout_at"}
"""What asyncio cancels the running task by: only the task that entered such a block may leave it, and by no `yield`."""

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def generators(tree: ast.AST) -> Iterator[ast.AsyncFunctionDef]:
    """The async functions of a module that are no context managers: those are left by who entered them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef):
            names = {ast.unparse(each).rpartition(".")[2] for each in node.decorator_list}
            if "asynccontextmanager" not in names:
                yield node


def inside(node: ast.AST) -> Iterator[ast.AST]:
    """All below a node, but not inside functions that are defined there."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, Function):
            yield child
            yield from inside(child)


def opens_scope(item: ast.withitem) -> bool:
    call = item.context_expr
    return isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2] in SCOPES


def unsafe_yields(source: str) -> list[int]:
    """The lines of `yield`s inside a scope."""
    blocks = (
        node
        for generator in generators(ast.parse(source))
        for node in inside(generator)
        if isinstance(node, ast.AsyncWith) and any(opens_scope(item) for item in node.items)
    )
    return [found.lineno for block in blocks for found in inside(block) if isinstance(found, ast.Yield)]


def test_no_async_generator_yields_inside_a_task_group_or_a_timeout() -> None:
    files = [path for folder in ("services", "shared") for path in sorted((ROOT / folder).rglob("*.py"))]
    found = {str(path.relative_to(ROOT)): lines for path in files if (lines := unsafe_yields(path.read_text()))}
    assert found == {}


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("async def f():\n async with asyncio.TaskGroup() as tasks:\n  yield 1", [3]),
        ("async def f():\n async with open(), timeout(1):\n  while True:\n   yield 1", [4]),
        ("async def f():\n async with asyncio.timeout(1):\n  await x\n yield 1", []),
        ("async def f():\n async with asyncio.TaskGroup():\n  async def g():\n   yield 1", []),
        ("@asynccontextmanager\nasync def f():\n async with asyncio.TaskGroup():\n  yield 1", []),
    ],
)
def test_a_yield_inside_a_scope_is_found(source: str, lines: list[int]) -> None:
    assert unsafe_yields(source) == lines
