"""What tests of `moorage schedule` run it by."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.scheduling import command

Run = Callable[..., tuple[int, list[dict[str, Any]]]]


@pytest.fixture
def decided(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command on the texts of files; its exit code, and its answers in JSON."""

    def run(*options: str, **texts: str) -> tuple[int, list[dict[str, Any]]]:
        code, out = command(tmp_path, *options, "-o", "json", **texts), capsys.readouterr().out
        return code, [json.loads(line) for line in out.splitlines()]

    return run
