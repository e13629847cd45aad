"""What counts of a part of a workload that cannot be read any more, and where the placement stays."""

from typing import Any

import pytest

from services.controller.core.unread import Unread, sentence, staying, still_counted
from shared.api import Count, PlacementSpec, Targets, WorkloadSelector
from shared.hub.kinds import BUILT_IN
from shared.model.request import WorkloadObject
from shared.model.target import Target

DEPLOYMENT = ("apps", "Deployment")
WEB = WorkloadObject(api_version="apps/v1", kind="Deployment", namespace="shop", name="web", replicas=3)
API = WorkloadObject(api_version="apps/v1", kind="Deployment", namespace="shop", name="api", replicas=2)


def unread(kind: str = "Deployment", api_version: str = "apps/v1", name: str | None = "web") -> Unread:
    return Unread(WorkloadSelector(api_version=api_version, kind=kind, name=name), f"no {kind}")


def spec(**fields: Any) -> PlacementSpec:
    return PlacementSpec(**fields)


@pytest.mark.parametrize(
    ("part", "bound", "counts"),
    [
        (unread(), {DEPLOYMENT}, (WEB,)),
        (unread(name=None), {DEPLOYMENT}, (WEB, API)),
        (unread(name="other"), {DEPLOYMENT}, None),  # nobody remembers it
        (unread("ConfigMap", "v1"), {("", "ConfigMap")}, ()),  # which has no pods
        (unread("ConfigMap", "v1"), {DEPLOYMENT}, None),  # of which nothing is in any target
        (unread("HorizontalPodAutoscaler", "autoscaling/v2"), {("autoscaling", "HorizontalPodAutoscaler")}, None),
    ],
)
def test_what_cannot_be_read_counts_as_it_was_decided(part: Unread, bound: set[Any], counts: Any) -> None:
    assert still_counted(spec(), [part], [WEB, API], bound, BUILT_IN) == counts


def test_what_is_divided_and_cannot_be_read_counts_as_nobody_can_say() -> None:
    divided = spec(replicas=PlacementSpec().replicas.__class__(division="Weighted"))
    assert still_counted(divided, [unread()], [WEB], {DEPLOYMENT}, BUILT_IN) is None
    assert still_counted(divided, [unread("Secret", "v1")], [WEB], {("", "Secret")}, BUILT_IN) == ()


def targets(*names: str) -> list[Target]:
    return [Target(workspace=workspace, name=name) for workspace, _, name in (each.partition("/") for each in names)]


def test_it_stays_where_it_is_and_in_all_of_it() -> None:
    stays = staying(spec(targets=Targets(all=True)), ["p/east", "p/west"], targets("p/east", "p/west", "p/north"))
    assert stays == Targets(names=("east", "west"), count=Count(min=2, max=2))


@pytest.mark.parametrize(
    ("wish", "on", "known"),
    [
        (Targets(), [], ["p/east"]),  # it is nowhere
        (Targets(), ["p/east"], ["p/east", "q/east"]),  # its name means two
        (Targets(), ["p/east"], []),  # it is gone
        (Targets(names=("west",)), ["p/east"], ["p/east", "p/west"]),  # it is not wanted there any more
        (Targets(count=Count(min=0)), ["p/east"], ["p/east"]),
    ],
)
def test_where_it_would_have_to_move_it_is_not_decided_anew(wish: Targets, on: list[str], known: list[str]) -> None:
    assert staying(spec(targets=wish), on, targets(*known)) is None


def test_a_sentence_names_the_first_of_many() -> None:
    assert sentence([]) == ""
    assert sentence([unread()] * 5) == "no Deployment; no Deployment; no Deployment; and 2 more"
