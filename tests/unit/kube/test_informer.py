"""Pauses between an informer's attempts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.kube.auth.kubeconfig import Credentials
from shared.kube.client import Client
from shared.kube.errors import ApiError, Unreachable
from shared.kube.informer import Informer
from shared.kube.resources import CONFIGMAPS

DOWN = Unreachable("nobody answers")


def informer(chance: float, **more: float) -> Informer:
    """One that is not run: only its pauses are looked at."""
    return Informer(Client(Credentials(server="http://localhost")), CONFIGMAPS, chance=lambda: chance, **more)


async def test_pauses_double_up_to_their_bound_and_begin_anew_after_a_watch_that_lived():
    failing = informer(1.0)
    assert [failing._delay(DOWN, 0.0) for _ in range(9)] == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert failing._delay(DOWN, 20.0) == 0.25
    assert failing._delay(DOWN, 19.0) == 0.5


@given(st.integers(0, 200), st.floats(0, 1))
async def test_a_pause_is_a_random_part_within_its_bound(attempts, chance):
    failing = informer(chance)
    assert all(0 <= failing._delay(DOWN, 0.0) <= 30 for _ in range(attempts))


@pytest.mark.parametrize("status", [401, 403, 404])
@pytest.mark.parametrize("refused", [0.1, 30.0, 300.0])
async def test_what_is_refused_again_is_asked_for_once_in_the_pause_for_that_however_often(status, refused):
    for chance in (0.0, 1.0):
        failing = informer(chance, refused=refused)
        first, *pauses = [failing._delay(ApiError(status, "No", ""), 0.0) for _ in range(20)]
        assert first <= min(refused, 0.25)
        assert set(pauses) == {refused * (1 + chance) / 2}


async def test_a_kind_that_was_served_and_answers_404_is_looked_for_every_few_seconds():
    failing = informer(1.0, refused=300.0)
    failing.synced.set()
    assert max(failing._delay(ApiError(404, "NotFound", ""), 0.0) for _ in range(20)) == 5.0
    assert max(failing._delay(ApiError(403, "Forbidden", ""), 0.0) for _ in range(20)) == 300.0
    brisk = informer(1.0, refused=0.1)
    brisk.synced.set()
    assert max(brisk._delay(ApiError(404, "NotFound", ""), 0.0) for _ in range(20)) == 0.1
