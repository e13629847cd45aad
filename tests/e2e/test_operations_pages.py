"""docs/backup.md, docs/quota.md and docs/upgrade.md: their commands, as they stand."""

import contextlib
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from tests.e2e.pages import ROOT, WITHIN, blocks, typed
from tests.support.process import BIN, Process, process
from tests.support.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(4 * WITHIN), pytest.mark.xdist_group("pages")]


QUOTAS_PAGE = (ROOT / "docs/quota.md").read_text().split("\n## Over all clusters\n")


class Operator:
    """Types commands in one folder, in which `moorage up` runs."""

    def __init__(self, folder: Path, up: Process) -> None:
        self.folder = folder
        self._up = up

    async def types(self, commands: str) -> str:
        async with process(["bash", "-euc", commands], environment(self.folder), cwd=self.folder) as user:
            assert await user.ends(WITHIN) == 0, user.output
            return user.output

    def nats(self) -> list[psutil.Process]:
        found = []
        for each in psutil.Process(self._up.child.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if "nats-server" in each.name():
                    found.append(each)
        return found

    async def loses_nats(self) -> None:
        """What the page says: all that it has stored, and the process."""
        (before,) = self.nats()
        shutil.rmtree(self.folder / ".moorage/nats/jetstream")
        before.kill()
        again = "NATS runs again"
        await until(self.nats, again, holds=lambda found: bool(found) and found[0].pid != before.pid, within=WITHIN)


def environment(folder: Path) -> dict[str, str]:
    there = {each: value for each, value in os.environ.items() if not each.startswith("MOORAGE_")}
    own = {"HOME": str(folder), "MOORAGE_CONTEXTS": str(folder / "contexts.json")}
    return there | own | {"PATH": f"{BIN}:{os.environ['PATH']}"}


@asynccontextmanager
async def operator(folder: Path) -> AsyncIterator[Operator]:
    (folder / "examples").symlink_to(ROOT / "examples")
    async with process(["moorage", "up", "-o", "json"], environment(folder), cwd=folder) as up:
        await up.record(lambda record: "kubeconfig" in record, within=WITHIN)
        yield Operator(folder, up)
        up.terminate()
        assert await up.ends() == 0, up.output


async def test_what_the_page_on_backups_says_holds_when_nats_is_lost(tmp_path: Path) -> None:
    starting, before, after = blocks((ROOT / "docs/backup.md").read_text())
    assert starting.strip() == "moorage up"
    async with operator(tmp_path) as here:
        await here.types(before)
        await here.loses_nats()
        said = await here.types(before.splitlines()[0] + "\n" + after)
    assert "nothing is given twice" in said


async def test_the_commands_of_the_page_on_quotas_bound_a_team_until_the_owner_gives_more(tmp_path: Path) -> None:
    in_one_cluster, _ = QUOTAS_PAGE
    starting, *rest = blocks(in_one_cluster)
    assert starting.strip() == "moorage up"
    async with operator(tmp_path) as here:
        said = await here.types("".join(rest))
    assert "QuotaExceeded" in said
    assert re.search(r"^root:team-a +cpu +\(all\) +\S+ +12 +", said, re.MULTILINE), said


async def test_the_commands_of_the_page_on_quotas_bound_a_shop_over_all_clusters(tmp_path: Path) -> None:
    _, over_all = QUOTAS_PAGE
    starting, *rest = blocks(over_all)
    assert starting.strip() == "moorage up --world examples/world.yaml"
    user = await typed(tmp_path, starting, "".join(rest))
    assert "the quota shop of root:apps over all clusters leaves too little: 0.4 of 1 cpu used" in user.output
    assert re.search(r"^root:apps:shop +\(all\) +cpu +shop of root:apps +1.2 +4 +2.8$", user.output, re.MULTILINE)


async def test_the_commands_of_the_page_on_upgrades_work_as_they_stand(tmp_path: Path) -> None:
    page = (ROOT / "docs/upgrade.md").read_text()
    commands = [line.strip() for line in re.findall(r"^        .*$", page, re.MULTILINE)]
    assert len(commands) == 7
    hub = [each for each in commands if each.startswith(("kubectl diff", "moorage install"))]
    dry, *changing = hub  # the sandbox is a kcp: what these do is shown in tests/integration/test_install.py
    assert changing == ["kubectl diff -f after.yaml", "moorage install kubernetes"]
    async with operator(tmp_path) as here:
        there = 'eval "$(moorage env)"'
        said = await here.types("\n".join([there, dry, *(each for each in commands if each not in hub)]))
    assert "CustomResourceDefinition" in (tmp_path / "after.yaml").read_text()
    assert "nothing is given twice" in said
