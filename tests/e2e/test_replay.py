"""`moorage replay` and `moorage top` on a whole system, and the commands on their pages."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.api.generate.__main__ import ROOT
from shared.hub.resources import SYNCTARGETS
from tests.e2e.system import System, running_system, until
from tests.support import worlds

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(300)]

WEB = f"{worlds.NAMESPACE}/web"


async def moorage(system: System, *argv: str, cwd: Path | None = None) -> tuple[int | None, str, str]:
    """The exit code of a command, and all that it prints."""
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("moorage")), *argv),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=cwd,
        env={**os.environ, "MOORAGE_NATS_URL": system.place.nats},
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), err.decode()


async def replay(system: System, *argv: str) -> tuple[int | None, Any]:
    code, out, err = await moorage(system, "replay", WEB, "--workspace", worlds.TEAM, "-o", "json", *argv)
    assert out, err
    return code, json.loads(out)


def on_page(name: str) -> list[list[str]]:
    """The commands on a page, without `moorage`."""
    found = re.findall(r"^    moorage (.*?)(?: +#.*)?$", (ROOT / f"docs/{name}.md").read_text(), re.MULTILINE)
    return [each.split() for each in found]


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    async with running_system(tmp_path, worlds.world(2)) as found:
        yield found


async def test_a_round_comes_to_the_same_until_what_decided_it_is_otherwise(system: System, tmp_path: Path) -> None:
    code, out, err = await moorage(system, "replay", WEB, "--workspace", worlds.TEAM)
    assert (code, out) == (1, "")
    assert "no round of" in err
    steady = {"scorers": [{"name": "Resource", "weight": 100}]}  # latency is another from moment to moment
    await system.place_app("web", strategy=steady)
    await until(lambda: system.ready("web"))
    (here,) = await system.chosen("web")

    code, found = await replay(system)
    assert (code, found["same"], found["differences"]) == (0, True, [])
    assert [each["target"].rpartition("/")[2] for each in found["now"]["selected"]] == [here]

    rule = {"name": "away", "effect": "Forbid", "expression": f'target.name == "{here}"', "message": "not there"}
    policy = {
        "apiVersion": "placement.moorage.io/v1alpha1",
        "kind": "PlacementPolicy",
        "metadata": {"name": "p"},
        "spec": {"rules": [rule]},
    }
    (tmp_path / "new.yaml").write_text(yaml.dump(policy))
    code, found = await replay(system, "--policy", str(tmp_path / "new.yaml"))
    assert (code, found["same"]) == (3, False)
    (rejected,) = (each for each in found["differences"] if each["what"] == "allowed")
    assert (rejected["then"], rejected["now"]) == ("allowed", "PolicyForbids: not there")

    code, out, err = await moorage(system, "replay", WEB, "--workspace", worlds.TEAM, "--attempt", "99")
    assert (code, out, err.count("\n")) == (1, "", 1)
    for words in on_page("replay"):
        names = {"backend": "web", "shop": worlds.NAMESPACE, "shop/backend": WEB, "root:team": worlds.TEAM}
        code, out, err = await moorage(system, *(names.get(word, word) for word in words), cwd=tmp_path)
        assert code == (3 if "--policy" in words else 0), (words, out, err)
        assert out.startswith(f"{worlds.TEAM}/{WEB}, attempt 1,")

    admin = system.admin.cluster(worlds.PLATFORM)
    await admin.merge_patch(SYNCTARGETS, here, {"spec": {"unschedulable": True}})

    async def differs() -> bool:
        return (await replay(system))[0] == 3

    await until(differs)
    code, found = await replay(system)
    (rejected,) = (each for each in found["differences"] if each["what"] == "allowed")
    assert rejected["now"].startswith("Unschedulable")

    for words in on_page("top"):
        code, out, err = await moorage(system, *words)
        assert (code, err) == (0, ""), words
        if "json" in words:
            shown = json.loads(out)
            assert {each["consumer"] for each in shown["queues"]} >= {"scheduler-evaluated", "decision-scheduled"}
            assert all(each["perSecond"] is not None for each in shown["queues"])
            placed = {each["target"].rpartition("/")[2]: each for each in shown["targets"]}
            assert (placed[here]["state"], placed[here]["placements"]) == ("Cordoned", 1)
            assert 0 < placed[here]["taken"]["cpu"] < 1
        else:
            assert out.startswith("WORKER ")
            assert here in out
