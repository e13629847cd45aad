"""Rollouts as they may be written."""

import re
from typing import Any

import msgspec
import pytest

from shared.api import Rollout


def read(**spec: Any) -> Rollout:
    return msgspec.convert(spec, Rollout)


def test_without_steps_targets_change_one_at_a_time() -> None:
    assert read() == Rollout(steps=(), max_concurrent=1)


@pytest.mark.parametrize("targets", [0, -1, "0%", "101%", "half", "1.5%", 10_001])
def test_a_step_that_means_no_target_or_no_number_is_refused(targets: Any) -> None:
    with pytest.raises(msgspec.ValidationError, match=re.escape("steps[0].targets")):
        read(steps=[{"targets": targets}])
    with pytest.raises(msgspec.ValidationError, match="maxConcurrent"):
        read(maxConcurrent=targets)


def test_a_step_says_how_many_targets_it_means() -> None:
    with pytest.raises(msgspec.ValidationError, match="targets"):
        read(steps=[{"approve": True}])
