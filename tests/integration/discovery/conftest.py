"""The discovery worker on a sandbox."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.discovery import Scene, opened


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with opened(tmp_path) as scene:
        yield scene
