"""`moorage demo` as a process, without a terminal: it gets there, in plain lines, and leaves nothing running."""

import asyncio
import os
import re
import shlex
from pathlib import Path

import psutil
import pytest
import yaml

from tests.support import worlds
from tests.support.process import BOUND, Process, process

ROOT = Path(__file__).parents[2]
WITHIN = 120.0  # seconds that the whole demo may take

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(WITHIN + 30), pytest.mark.xdist_group("pages")]


async def until_it_says(command: Process, text: str) -> None:
    async with asyncio.timeout(WITHIN):
        while text not in command.output:
            assert command.child.returncode is None, command.output
            await asyncio.sleep(0.05)


def started_from(folder: Path) -> list[psutil.Process]:
    """Processes whose command line or environment names a folder: everything that a demo with this data starts."""
    found = []
    for each in psutil.process_iter():
        try:
            if str(folder) in " ".join(each.cmdline()) or str(folder) in str(each.environ().values()):
                found.append(each)
        except psutil.Error:
            continue
    return found


async def test_the_demo_gets_there_in_plain_lines_and_leaves_nothing_running(tmp_path: Path) -> None:
    data = tmp_path / "data"
    environment = {**os.environ, "DEMO_KEEP": "0", "TERM": "xterm"}
    async with process(["moorage", "demo", "--data", str(data)], environment, cwd=ROOT) as command:
        async with asyncio.timeout(WITHIN):
            code = await command.child.wait()
        await command.ends()
        output = command.output
    assert code == 0, output
    assert "\x1b" not in output
    assert "Traceback" not in output
    for placement in ("backend", "background", "payments", "storefront"):
        assert re.search(rf"^  shop/{placement} +running   on [\w, -]+$", output, re.MULTILINE), output
    assert re.search(r"^  shop/impossible +refused   0/8 targets: \d insufficient cpu", output, re.MULTILINE), output
    for word in ("Accepted +place as anton", "Requested +Created", "Decided", "Bound", "Ready +in 1 target"):
        assert re.search(rf"^  \d\d:\d\d:\d\d  reports/reports +{word}", output, re.MULTILINE), output
    assert re.search(r"^    chosen [\w-]+ +\d+\.\d = \w+ \d+\.\d \+ .*  Healthy$", output, re.MULTILINE), output
    assert "    not    1 cluster: workspace not allowed" in output
    assert re.search(r"is lost, with [1-9] placements on it$", output, re.MULTILINE), output
    assert re.search(r"noticed after \d+\.\d s, decided anew after \d+\.\d s, running elsewhere after", output), output
    summary = output[output.index("] Summary") :]
    labels = re.findall(r"^  (\w[\w ]*?)  ", summary, re.MULTILINE)
    assert labels == ["placements", "bindings", "created to decided", "messages", "cluster lost", "time"], summary
    assert summary.endswith("everything is stopped")
    assert started_from(data) == []


def small_world(folder: Path) -> Path:
    """Two clusters, and one Deployment with its Placement that alice applies."""
    content = [{"workspace": worlds.TEAM, "user": worlds.USER, "files": ["app.yaml"]}]
    (folder / "app.yaml").write_text(yaml.safe_dump_all([worlds.placement("web"), worlds.deployment("web")]))
    return worlds.write_world(folder / "world.yaml", {**worlds.world(2), "content": content})


async def pasted(line: str) -> str:
    """What a command prints that was shown for pasting."""
    async with process(shlex.split(line), dict(os.environ)) as command:
        assert await command.ends() == 0, command.output
        return command.output


async def test_kept_up_it_says_how_to_look_around_until_sigterm_and_leaves_no_folder(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {**os.environ, "DEMO_KEEP": "1", "TMPDIR": str(temporary)}
    async with process(["moorage", "demo", "--world", str(small_world(tmp_path))], environment) as command:
        await until_it_says(command, "# logs are in ")
        shown = {
            " ".join(line.split()[3:]): line for line in command.lines if "kubectl" in line or "moorage dead" in line
        }
        assert "web" in await pasted(shown["get placements,placementdecisions,placementbindings -A"])
        assert "Ready" in await pasted(shown["describe placements -A"])
        assert "web" in await pasted(shown["get deployments -A"])
        command.terminate()
        async with asyncio.timeout(BOUND):
            assert await command.child.wait() == 130, command.output
    assert started_from(temporary) == []
    assert list(temporary.iterdir()) == []


async def test_ctrl_c_stops_everything(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with process(["moorage", "demo", "--data", str(data)], dict(os.environ), cwd=ROOT) as command:
        await until_it_says(command, "clusters are on offer")
        assert len(started_from(data)) >= 9  # NATS, the sandbox, seven workers
        command.child.send_signal(2)
        assert await command.ends() == 130, command.output
    assert started_from(data) == []
