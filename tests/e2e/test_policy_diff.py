"""`moorage policy diff --live` on a whole system: it says what would change, changes nothing, and is right."""

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
from shared.hub.resources import POLICIES
from tests.e2e.system import System, running_system, until
from tests.support import worlds

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(300)]


LIVE = re.compile(r"^\$ (moorage policy diff .* --live.*)$", re.MULTILINE)
"""The command of the page on tests of policies that needs a system."""


async def shell(system: System, folder: Path, command: str) -> str:
    """What a command prints, run as somebody who has set up where the system is."""
    there = {"MOORAGE_KUBECONFIG": system.place.kubeconfig, "MOORAGE_NATS_URL": system.place.nats}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = await asyncio.create_subprocess_shell(
        command, cwd=folder, env={**os.environ, **there, "PATH": path}, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    return out.decode()


def policy(expression: str) -> dict[str, Any]:
    rule = {"name": "not-there", "effect": "Forbid", "expression": expression, "message": "not there"}
    return {
        "apiVersion": "placement.moorage.io/v1alpha1",
        "kind": "PlacementPolicy",
        "metadata": {"name": "p"},
        "spec": {"rules": [rule]},
    }


async def diff(system: System, folder: Path, manifest: dict[str, Any]) -> tuple[int | None, Any]:
    """The exit code, and what is said of each placement."""
    file = folder / "new.yaml"
    file.write_text(yaml.dump(manifest))
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("moorage")), "policy", "diff", str(file), "--live", "-o", "json"),
        *("--workspace", worlds.TEAM, "--kubeconfig", system.place.kubeconfig, "--nats-url", system.place.nats),
        stdout=asyncio.subprocess.PIPE,
        env=dict(os.environ),
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, {each["placement"]: each for each in json.loads(out)["placements"]}


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    async with running_system(tmp_path, worlds.world(2)) as found:
        yield found


async def test_what_a_policy_would_move_is_told_before_it_does(system: System, tmp_path: Path) -> None:
    await system.place_app("web")
    await until(lambda: system.ready("web"))
    (here,) = await system.chosen("web")
    before = await system.placement("web"), await system.decision("web")
    web = f"{worlds.TEAM}/{worlds.NAMESPACE}/web"

    (tmp_path / "new.yaml").write_text(yaml.dump(policy("target.ready")))
    said = await shell(system, tmp_path, "moorage policy test new.yaml --targets live -o json")
    assert {each["outcome"] for each in json.loads(said)} == {"true"}
    code, found = await diff(system, tmp_path, policy("target.nodes < 0"))
    assert (code, found[web]["change"]) == (0, "Unchanged")
    code, found = await diff(system, tmp_path, policy("true"))
    assert (code, found[web]["change"]) == (1, "Refused")
    away = policy(f'target.name == "{here}"')
    code, found = await diff(system, tmp_path, away)
    assert (code, found[web]["change"]) == (1, "Moves")
    assert list(found[web]["reasons"].values()) == ["not there"]
    (there,) = (each["target"].rpartition("/")[2] for each in found[web]["to"])
    assert (await system.placement("web"), await system.decision("web")) == before

    for command in LIVE.findall((ROOT / "docs/policy-tests.md").read_text()):
        (tmp_path / "residency.yaml").write_text(yaml.dump(away))
        said = await shell(system, tmp_path, command)
        assert said.endswith("1 of 1 placements would change\n"), said

    await system.user.create(POLICIES, away)
    await until(lambda: _is_on(system, there))


async def _is_on(system: System, target: str) -> bool:
    return await system.chosen("web") == [target]
