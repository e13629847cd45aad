"""What the code imports is declared in pyproject.toml, for each worker in the extras that it needs."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from services import PIPELINE

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS = {"services", "shared"}

NOT_COUNTED = {"google", "typing_extensions"}  # a package of many distributions (protobuf); for the type checker alone

EXTRAS = {
    "policy": {"policy"},
    "scheduler": {"scheduler"},
    "sandbox": {"sandbox"},
    **{name: {"kubernetes"} for name in PIPELINE if name not in ("policy", "scheduler")},
}


def names(requirements: Iterable[str]) -> set[str]:
    """The distributions that requirements name, in lower case with dashes."""
    return {re.split(r"[\[><=; ]", each)[0].lower().replace("_", "-") for each in requirements}


def declared(*extras: str) -> set[str]:
    optional = PROJECT["optional-dependencies"]
    return names(PROJECT["dependencies"]).union(*(names(optional[extra]) for extra in extras))


def imported(*folders: str) -> set[str]:
    """The distributions of all third-party modules that the code in these folders imports."""
    found: set[str] = set()
    for file in (file for folder in folders for file in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
    tops = {name.partition(".")[0] for name in found} - set(sys.stdlib_module_names) - OURS
    distributions = packages_distributions()
    return {distributions[top][0].lower().replace("_", "-") for top in tops - NOT_COUNTED}


@pytest.mark.parametrize("name", EXTRAS)
def test_a_workers_imports_are_in_its_extras(name: str) -> None:
    folders = (f"services/{name}", *(("shared/kube",) if EXTRAS[name] == {"kubernetes"} else ()))
    assert imported(*folders) <= declared(*EXTRAS[name])


def test_every_import_is_declared_and_every_extra_is_in_all() -> None:
    optional = PROJECT["optional-dependencies"]
    assert imported("services", "shared") <= declared(*optional)
    (everything,) = optional["all"]
    assert everything == f"moorage[{','.join(extra for extra in optional if extra != 'all')}]"
