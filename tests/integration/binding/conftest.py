"""Binders at work on a scene."""

from collections.abc import AsyncIterator, Callable

import pytest

from services.binding.binder import Binder
from tests.support.binders import binders
from tests.support.scene import Scene


@pytest.fixture
async def new_binder(scene: Scene) -> AsyncIterator[Callable[..., Binder]]:
    """Makes Binders, each as if it were in a process of its own."""
    async with binders(scene) as make:
        yield make


@pytest.fixture
def binder(new_binder: Callable[..., Binder]) -> Binder:
    return new_binder()
