"""`inWorkspace` and `distance`: where in the workspace tree."""

from collections.abc import Callable, Mapping
from typing import Any

from services.policy.functions.function import Function
from shared.model.target import Target


def in_workspace(where: Mapping[str, Any] | str, path: str) -> bool:
    """True if a target (or a path) lies in the workspace `path` or below it; exactly there with a trailing `!`."""
    workspace = where if isinstance(where, str) else where["workspace"]
    if path.endswith("!"):
        return bool(workspace == path[:-1])
    return bool(workspace == path or workspace.startswith(path + ":"))


def distance(a: str, b: str) -> int:
    """Steps between two workspaces in the tree: up to their nearest common ancestor, and down again."""
    left, right = _parts(a), _parts(b)
    common = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        common += 1
    return len(left) + len(right) - 2 * common


def _parts(path: str) -> list[str]:
    return path.split(":") if path else []


def _shortcut(path: str) -> Callable[[Target], bool]:
    if path.endswith("!"):
        exactly = path[:-1]
        return lambda target: target.workspace == exactly
    below = path + ":"
    return lambda target: target.workspace == path or target.workspace.startswith(below)


IN_WORKSPACE = Function(
    name="inWorkspace",
    overloads=(("Target", "string"), ("string", "string")),
    result="bool",
    call=in_workspace,
    description="Whether the target lies in that workspace or below it; with a trailing `!`, exactly there",
    example='target.inWorkspace("root:platform")',
    reads=("workspace",),
    shortcut=_shortcut,
)
DISTANCE = Function(
    name="distance",
    overloads=(("string", "string"),),
    result="int",
    call=distance,
    description="Steps between two workspaces in the tree; 0 is the same one, 2 are siblings",
    example="distance(workspace, target.workspace) <= 2",
)
