"""The contracts of import-linter cover what they are meant to cover, also what is added later."""

import ast
import fnmatch
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from services import PIPELINE

ROOT = Path(__file__).parents[2]
CONTRACTS: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
WORKERS = {f"services.{name}" for name in PIPELINE}


def contract(begins: str) -> dict[str, Any]:
    (found,) = (each for each in CONTRACTS if each["name"].startswith(begins))
    return found


@pytest.mark.parametrize(
    ("begins", "field", "but"),
    [
        ("services do not import each other", "modules", set()),
        ("no worker imports the sandbox", "source_modules", set()),
        ("of the workers, only policy imports CEL", "source_modules", {"services.policy"}),
    ],
)
def test_what_holds_for_workers_holds_for_each_of_them(begins, field, but):
    assert set(contract(begins)[field]) >= WORKERS - but


def covered(module: str) -> bool:
    """Whether the contract of purity names a module or a package that it is in."""
    parts = module.split(".")
    above = [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
    return any(fnmatch.fnmatchcase(each, named) for named in contract("pure")["source_modules"] for each in above)


def test_every_module_that_calls_itself_pure_is_held_to_it():
    claims = re.compile(r"\bPure(?! but)\b")
    uncovered = [
        module
        for path in sorted([*(ROOT / "services").rglob("*.py"), *(ROOT / "shared").rglob("*.py")])
        if claims.search(ast.get_docstring(ast.parse(path.read_text())) or "")
        and not covered(module := ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    ]
    assert uncovered == []


def test_the_layers_of_every_room_are_exhaustive():
    assert [each["name"] for each in CONTRACTS if each["type"] == "layers" and not each.get("exhaustive")] == []
