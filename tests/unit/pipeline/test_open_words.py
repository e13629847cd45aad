"""Words of another version in messages and buckets: they are read, and say what is safe."""

from typing import Any

import msgspec
import pytest

from shared.api import PlacementSpec
from shared.model.refs import Head, PlacementRef
from shared.model.report import ObjectHealth, TargetReport
from shared.model.request import Cause, Request
from shared.pipeline.messages import Bound, Evaluated, Message, Observed, Requested, decoder, encode

REF = PlacementRef(workspace="root:a", namespace="n", name="p")
HEAD = Head(uid="u", generation=1, attempt=1)
REQUEST = Request(placement=REF, head=HEAD, cause=Cause.of("Created"), spec=PlacementSpec())
HEALTHY = (ObjectHealth(ref="v1 Pod n/a", health="Healthy"),)
RULE = {"policy": "root/p", "rule": "r", "effect": "MoonPhase", "outcomes": "t"}


def written(message: Message, **changed: Any) -> bytes:
    """A message as another version may write it."""
    return msgspec.json.encode({**msgspec.json.decode(encode(message)), **changed})


def test_a_cause_of_another_version_is_read_as_it_stands() -> None:
    request = msgspec.to_builtins(REQUEST) | {"cause": {"code": "MoonPhase", "detail": "full"}}
    read = decoder(Requested).decode(written(Requested(request=REQUEST), request=request))
    assert read.request.cause == Cause(code="MoonPhase", detail="full")


@pytest.mark.parametrize(
    "message",
    [
        Bound(placement=REF, head=HEAD, target="w/t", phase="Applied", objects=HEALTHY),
        Observed(placement=REF, head=HEAD, target="w/t", objects=HEALTHY, revision=1),
    ],
    ids=lambda message: message.stage,
)
def test_a_health_of_another_version_is_read_as_unknown(message: Message) -> None:
    objects = [{"ref": "v1 Pod n/a", "health": "Hibernating", "message": "zzz"}]
    read = decoder(type(message)).decode(written(message, objects=objects))
    assert read.objects == (ObjectHealth(ref="v1 Pod n/a", health="Unknown", message="zzz"),)


def test_a_report_of_another_version_is_read_with_an_unknown_health() -> None:
    report = TargetReport(placement=REF, head=HEAD, target="w/t", phase="Ready", objects=HEALTHY)
    raw = msgspec.json.encode(report).replace(b'"Healthy"', b'"Hibernating"')
    assert [each.health for each in msgspec.json.decode(raw, type=TargetReport).objects] == ["Unknown"]


def test_what_a_rule_of_another_version_did_stands_in_the_targets_and_its_effect_as_it_is() -> None:
    message = Evaluated(request=REQUEST, targets=("w/t",), inventory_revision=1)
    (rule,) = decoder(Evaluated).decode(written(message, rules=[RULE])).rules
    assert (rule.effect, rule.outcomes) == ("MoonPhase", "t")
