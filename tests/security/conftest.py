"""A hub with targets, in this process, and a binder over it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.binding.binder import Binder
from tests.support.binders import binders
from tests.support.scene import Scene, opened


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with opened(tmp_path) as scene:
        yield scene


@pytest.fixture
async def binder(scene: Scene) -> AsyncIterator[Binder]:
    async with binders(scene) as make:
        yield make()
