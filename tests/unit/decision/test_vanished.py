"""How long, and by whose word, a workspace must be gone until it counts."""

import pytest

from services.decision.vanished import VanishedWorkspaces
from shared.kube.errors import ApiError, KubeError, Unreachable

GRACE = 60.0
LOST, OTHER = "root:lost", "root:other"

Answer = bool | KubeError


class Hub:
    """Says what a test has it say, and what time it is."""

    def __init__(self, **answers: Answer) -> None:
        self.now = 1000.0
        self.answers: dict[str, Answer] = {LOST: True, OTHER: True, **answers}
        self.asked: list[str] = []
        self.vanished = VanishedWorkspaces(self.is_gone, lambda: self.now, GRACE)

    async def is_gone(self, path: str) -> bool:
        self.asked.append(path)
        answer = self.answers[path]
        if isinstance(answer, KubeError):
            raise answer
        return answer

    async def look(self, at: float, *suspects: str) -> set[str]:
        self.now = 1000.0 + at
        return await self.vanished.among(set(suspects or (LOST,)))


async def test_a_workspace_counts_once_it_was_gone_for_the_whole_grace():
    hub = Hub()
    assert [await hub.look(at) for at in (0.0, 30.0, 59.9, 60.0)] == [set(), set(), set(), {LOST}]
    assert await hub.look(200.0) == {LOST}


async def test_each_has_a_time_of_its_own():
    hub = Hub()
    await hub.look(0.0, LOST)
    assert await hub.look(40.0, LOST, OTHER) == set()
    assert await hub.look(60.0, LOST, OTHER) == {LOST}
    assert await hub.look(100.0, LOST, OTHER) == {LOST, OTHER}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(False, id="it is there"),
        pytest.param(ApiError(503, "ServiceUnavailable"), id="trouble"),
        pytest.param(ApiError(401, "Unauthorized"), id="we are refused"),
        pytest.param(Unreachable("refused"), id="no answer"),
    ],
)
async def test_any_other_answer_and_none_begins_the_time_anew(answer):
    hub = Hub()
    await hub.look(0.0)
    hub.answers[LOST] = answer
    assert await hub.look(60.0) == set()
    hub.answers[LOST] = True
    assert await hub.look(61.0) == set()
    assert await hub.look(120.0) == set()
    assert await hub.look(121.0) == {LOST}


async def test_what_is_not_in_question_any_more_is_not_asked_about_and_begins_anew():
    hub = Hub()
    await hub.look(0.0, LOST, OTHER)
    hub.asked.clear()
    assert await hub.look(60.0, OTHER) == {OTHER}
    assert hub.asked == [OTHER]
    assert await hub.look(61.0, LOST, OTHER) == {OTHER}


async def test_an_answer_about_one_of_them_does_not_hold_up_the_others():
    hub = Hub()
    hub.answers[LOST] = ApiError(500, "InternalError")
    await hub.look(0.0, LOST, OTHER)
    assert await hub.look(60.0, LOST, OTHER) == {OTHER}


async def test_a_hub_that_does_not_answer_is_not_asked_about_all_of_them():
    hub = Hub()
    hub.answers[LOST] = Unreachable("timed out")
    assert await hub.look(0.0, LOST, OTHER) == set()
    assert len(hub.asked) == 1
