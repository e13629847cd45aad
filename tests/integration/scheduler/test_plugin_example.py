"""The example of docs/scheduler.md, as it stands there, answers a scheduler over a real nats-server."""

import asyncio
import os
import re
import sys
from pathlib import Path

from services.scheduler.core import schedule
from services.scheduler.plugins import Plugins, asking
from services.scheduler.settings import SchedulerSettings
from shared.broker.nats.bus import NatsBus
from shared.broker.nats.server import NatsServer
from tests.unit.scheduler.builders import NOW, request, snapshot_of, target

DOCS = Path(__file__).parents[3] / "docs" / "scheduler.md"
WANTED = {"strategy": {"scorers": [{"name": "Plugin:renewable"}]}}


async def test_the_documented_plugin_scores_and_its_absence_only_abstains(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert len(example.splitlines()) <= 30
    (tmp_path / "plugin.py").write_text(example)
    fleet = [target("dirty", region="us-east"), target("clean", region="eu-north"), target("unknown", region="mars")]
    ids = [each.id for each in fleet]
    snapshot = snapshot_of(fleet)

    async with NatsServer(tmp_path / "nats") as server, asyncio.timeout(30):
        bus = await NatsBus.connect(server.url, name="test")
        settings = SchedulerSettings(plugin_rest_seconds=0.0)
        plugins = Plugins(settings, asking(bus))
        assert await plugins.ask(request(WANTED), ids, snapshot) == {}, "nobody answers: it abstains"

        plugin = await asyncio.create_subprocess_exec(
            sys.executable, str(tmp_path / "plugin.py"), env={**os.environ, "NATS_URL": server.url}
        )
        try:
            plugin_answers = await plugins.ask(request(WANTED), ids, snapshot)
            while not plugin_answers:  # until it has subscribed
                plugin_answers = await plugins.ask(request(WANTED), ids, snapshot)
        finally:
            plugin.kill()
            await plugin.wait()
            await bus.close()
    outcome = schedule(request(WANTED), snapshot, ids, now=NOW, settings=settings, plugin_answers=plugin_answers)
    points = {each.target: {name: part.raw for name, part in each.breakdown.items()} for each in outcome.scores()}
    assert points == {
        "root/clean": {"Plugin:renewable": 95.0},
        "root/dirty": {"Plugin:renewable": 30.0},
        "root/unknown": {},
    }
    assert outcome.proposal.selected[0].target == "root/clean"
