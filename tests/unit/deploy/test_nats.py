"""deploy/nats and what uses it: the permissions are those that the declarations imply, and everybody has a key."""

import ast
import shlex
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from services import PIPELINE
from services.registry import load
from services.scheduler.settings import PLUGINS
from shared.pipeline import buckets, topology
from tests.support.compose import ROOT, SERVICES
from tests.support.process import BIN


def permissions(*args: str) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "moorage"), "nats", "permissions", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_permissions_that_are_shipped_are_those_that_the_declarations_imply() -> None:
    assert (ROOT / "deploy/nats/permissions.conf").read_text() == permissions().stdout


@pytest.mark.parametrize("worker", PIPELINE)
def test_a_worker_declares_the_buckets_that_its_code_uses_and_no_others(worker: str) -> None:
    """By the names of buckets in the calls of the runtime; the runtime itself refuses what is not declared."""
    used: dict[str, set[str]] = defaultdict(set)
    for file in Path(ROOT / "services" / worker).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(attr="follow" | "table" as call), args=[ast.Name(id=name)]):
                    used[call].add(name)
    declared = load(worker)
    followed = {getattr(buckets, name).name for name in used["follow"] if name.isupper()}
    assert {bucket.name for bucket in declared.follows} == followed
    written = {getattr(buckets, name).name for name in used["table"] if name.isupper()}
    joined = {declared.copies.name} if declared.copies is not None else set()  # the runtime itself joins the copies
    assert written | joined == {bucket.name for bucket in topology.owned(declared)}


def test_only_the_scheduler_asks_others_than_the_broker() -> None:
    assert {worker: load(worker).asks for worker in PIPELINE if load(worker).asks} == {"scheduler": (f"{PLUGINS}.>",)}


@pytest.mark.parametrize("worker", PIPELINE)
def test_each_worker_of_compose_has_its_own_key(worker: str) -> None:
    assert SERVICES[worker]["environment"]["MOORAGE_NATS_NKEY"] == f"/keys/{worker}.nk"
    assert "keys:/keys:ro" in SERVICES[worker]["volumes"]


def test_seeds_are_for_their_owner_and_stay_when_the_command_is_run_again(tmp_path: Path) -> None:
    seeds = tmp_path / "seeds"
    first = permissions("--seeds", str(seeds))
    assert first.returncode == 0, first.stderr
    assert {file.name for file in seeds.iterdir()} == {f"{name}.nk" for name in (*PIPELINE, "admin", "operator")}
    for file in (seeds, *seeds.iterdir()):
        assert file.stat().st_mode & 0o077 == 0
    assert all(file.read_text().strip() not in first.stdout for file in seeds.iterdir())
    assert permissions("--seeds", str(seeds)).stdout == first.stdout


def test_the_commands_of_the_page_make_keys_permissions_and_the_account_of_a_tenant(tmp_path: Path) -> None:
    page = (ROOT / "docs/deploy.md").read_text().splitlines()
    typed = [shlex.split(each) for each in page if each.startswith("    moorage nats permissions --seeds")]
    written = []
    for _, *words in typed:
        done = subprocess.run([BIN / "moorage", *words], capture_output=True, text=True, timeout=60, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        written.append((tmp_path / "permissions.conf").read_text())
    first, second = written
    assert "shop" not in first
    assert "root=3Ashop" in second
    assert (tmp_path / "keys" / "shop.nk").exists()


@pytest.mark.parametrize("content", ["", "no seed", "SUAM\n", "\xff"])
def test_a_file_that_holds_no_seed_is_one_line_that_does_not_show_it(tmp_path: Path, content: str) -> None:
    (tmp_path / "policy.nk").write_text(content)
    found = permissions("--seeds", str(tmp_path))
    assert found.returncode == 2
    assert found.stdout == ""
    assert found.stderr.count("\n") == 1
    assert "policy.nk holds no seed" in found.stderr


def test_json_without_keys_is_refused_and_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    assert permissions("-o", "json").returncode == 2
    found = permissions("--file", str(tmp_path / "nowhere" / "x.conf"))
    assert found.returncode == 2
    assert "nowhere" in found.stderr
