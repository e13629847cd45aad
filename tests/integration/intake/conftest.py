"""The intake worker on a sandbox with workspaces, as on kcp."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.intake.settings import IntakeSettings
from shared.broker.memory.bus import MemoryBus
from shared.hub.names import REQUESTER_ANNOTATION
from shared.hub.resources import PLACEMENTS
from tests.support.asking import Publisher, taking, write_users
from tests.support.grants import ACCESS, PLACING, grant
from tests.support.scene import TEAM, Scene, opened

WORKLOADS = {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["create", "patch"]}


@dataclass
class Desk:
    """A publisher, alice, who may edit Placements and workloads in the team's workspace."""

    scene: Scene
    alice: Publisher
    settings: IntakeSettings

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with taking(self.settings, self.alice.bus, self.scene.store):
            yield

    async def requester(self, name: str = "web") -> str:
        found = await self.scene.team.get(PLACEMENTS, name, "shop")
        return str(found["metadata"]["annotations"][REQUESTER_ANNOTATION])


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(tmp_path / "sandbox") as scene:
        await grant(scene.hub.cluster(TEAM), "alice", ACCESS, PLACING, WORKLOADS)
        users = write_users(tmp_path / "users.yaml", {"user": "alice", "groups": ["team"]}, {"user": "mallory"})
        settings = IntakeSettings(
            kubeconfig=str(scene.ready.kubeconfigs["intake"]), users_file=users, hub="kcp", health_port=-1
        )
        yield Desk(scene, Publisher(MemoryBus(), TEAM, "alice"), settings)


@pytest.fixture
async def opened_desk(desk: Desk) -> AsyncIterator[Desk]:
    async with desk.open():
        yield desk
