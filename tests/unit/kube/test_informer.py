"""Pauses between an informer's attempts."""

from hypothesis import given
from hypothesis import strategies as st

from shared.kube.auth.kubeconfig import Credentials
from shared.kube.client import Client
from shared.kube.errors import Unreachable
from shared.kube.informer import Informer
from shared.kube.resources import CONFIGMAPS

DOWN = Unreachable("nobody answers")


def informer(chance: float) -> Informer:
    """One that is not run: only its pauses are looked at."""
    return Informer(Client(Credentials(server="http://localhost")), CONFIGMAPS, chance=lambda: chance)


async def test_pauses_double_up_to_their_bound_and_begin_anew_after_a_watch_that_lived():
    failing = informer(1.0)
    assert [failing._delay(DOWN, 0.0) for _ in range(9)] == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert failing._delay(DOWN, 20.0) == 0.25
    assert failing._delay(DOWN, 19.0) == 0.5


@given(st.integers(0, 200), st.floats(0, 1))
async def test_a_pause_is_a_random_part_within_its_bound(attempts, chance):
    failing = informer(chance)
    assert all(0 <= failing._delay(DOWN, 0.0) <= 30 for _ in range(attempts))
