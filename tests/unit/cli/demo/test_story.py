"""The demo's folder, and waiting for what is to be seen."""

import asyncio
import re
from pathlib import Path

import pytest

from services.cli.demo.follow import Follower
from services.cli.demo.story import _folder
from services.cli.support.errors import CommandError
from tests.unit.cli.demo.pictures import REF


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_temporary_folder_is_removed_at_the_end(temporary):
    with _folder(None) as folder:
        (folder / "logs").mkdir()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, asyncio.CancelledError, RuntimeError])
def test_a_temporary_folder_is_removed_when_the_demo_is_broken_off(temporary, error):
    with pytest.raises(error), _folder(None):
        raise error
    assert list(temporary.iterdir()) == []


def test_a_failure_keeps_the_logs_and_says_where(temporary):
    with pytest.raises(CommandError) as caught, _folder(None) as folder:
        raise CommandError("not yet")
    assert str(caught.value) == f"not yet (logs: {folder / 'logs'})"
    assert folder.is_dir()


def test_a_folder_of_the_users_stays(temporary):
    given = temporary / "mine"
    with _folder(given) as folder:
        folder.mkdir()
    assert given.is_dir()


def test_a_folder_that_holds_something_is_refused(temporary):
    (temporary / "precious").touch()
    with pytest.raises(CommandError, match=re.escape(f"{temporary} is not an empty folder")), _folder(temporary):
        pass


async def test_waiting_ends_when_the_picture_shows_it():
    follower = Follower(clock=iter([10.0, 12.0]).__next__)
    shown: list[int] = []
    waiting = asyncio.create_task(
        follower.until(lambda picture: REF in picture.created, 5.0, lambda picture: shown.append(len(picture.created)))
    )
    await asyncio.sleep(0)
    follower.creating(REF)
    assert await waiting == 12.0
    assert shown == [0, 1]


async def test_waiting_is_bounded():
    with pytest.raises(TimeoutError):
        await Follower(clock=lambda: 0.0).until(lambda _picture: False, 0.01)
