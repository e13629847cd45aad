"""`moorage plan` on a whole system: it says where a placement would go, changes nothing, and is right."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.api.generate.__main__ import ROOT
from shared.hub.resources import SYNCTARGETS
from tests.e2e.system import System, running_system, until
from tests.support import worlds

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(300)]

ON_THE_PAGE = re.compile(r"^    (moorage plan --(?:without|lost|drain).*?)(?: +#.*)?$", re.MULTILINE)


async def plan(system: System, *options: str) -> tuple[int | None, Any]:
    """The exit code, and what is said of each placement."""
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("moorage")), "plan", *options, "-o", "json"),
        *("--kubeconfig", system.place.kubeconfig, "--nats-url", system.place.nats),
        stdout=asyncio.subprocess.PIPE,
        env=dict(os.environ),
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, {each["placement"]: each for each in json.loads(out)["placements"]} if out else {}


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    async with running_system(tmp_path, worlds.world(2)) as found:
        yield found


async def test_where_a_placement_would_go_is_told_before_it_does(system: System) -> None:
    await system.place_app("web")
    await until(lambda: system.ready("web"))
    (here,) = await system.chosen("web")
    before = await system.placement("web"), await system.decision("web")
    web = f"{worlds.TEAM}/{worlds.NAMESPACE}/web"

    assert await plan(system, "--cordon", here) == (0, (await plan(system, "--cordon", here))[1])
    code, found = await plan(system, "--lost", here)
    assert (code, found[web]["change"]) == (3, "Moves")
    code, found = await plan(system, "--drain", here)
    assert (code, found[web]["change"]) == (3, "Moves")
    (there,) = (each["target"].rpartition("/")[2] for each in found[web]["to"])
    assert (await system.placement("web"), await system.decision("web")) == before

    for command in ON_THE_PAGE.findall((ROOT / "docs/plan.md").read_text()):
        words = re.sub(r"region=[\w-]+|eu-west-1", here, command).replace("eu-west-2", there).split()[2:]
        assert (await plan(system, *words))[0] == 3, command

    taint = {"key": "placement.moorage.io/drain", "effect": "NoExecute"}
    await system.admin.cluster(worlds.PLATFORM).merge_patch(
        SYNCTARGETS, here, {"spec": {"unschedulable": True, "taints": [taint]}}
    )
    await until(lambda: _is_on(system, there))


async def _is_on(system: System, target: str) -> bool:
    return await system.chosen("web") == [target]
