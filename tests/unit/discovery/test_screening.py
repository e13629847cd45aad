"""What is remembered of screening is what it would be worked out anew, whatever changed since."""

from typing import Any

import msgspec
import pytest

from services.discovery.screening import Screening
from shared.api import PlacementPolicySpec
from shared.broker.memory.store import MemoryStore
from shared.broker.store import Bucket, Raw
from shared.broker.table import Table, View
from shared.model.policy import PolicyEntry
from shared.model.target import Target, Workspace
from shared.pipeline.buckets import INVENTORY, POLICIES, WORKSPACES
from tests.unit.discovery.test_core import request, target

ALLOWED = {f"root:platform/{name}": "Allowed" for name in "abcd"}


class World:
    """Views over state that is put into them by hand."""

    def __init__(self) -> None:
        self.inventory: View[Target] = view(INVENTORY)
        self.workspaces: View[Workspace] = view(WORKSPACES)
        self.policies: View[PolicyEntry] = view(POLICIES)
        self.screening = Screening(self.inventory, self.workspaces, self.policies, ("root:platform",))
        self.permissions = dict(ALLOWED)

    def offer(self, name: str, **more: Any) -> None:
        found = msgspec.structs.replace(target(name, "root:platform"), **more)
        put(self.inventory, f"root=3Aplatform.{name}", found)

    def usable(self) -> list[str]:
        """The targets that a request finds here, by name."""
        screened = self.screening.screened(request())
        found = self.screening.sorted_out(screened, self.permissions, frozenset(), frozenset())
        return [each.rpartition("/")[2] for each in found.targets]


def view(bucket: Bucket[Any]) -> View[Any]:
    return Table(MemoryStore(), bucket).follow()


def put(view: View[Any], key: str, value: Any) -> None:
    view._take(Raw(key, None if value is None else msgspec.json.encode(value), view.revision + 1))


@pytest.fixture
def world() -> World:
    found = World()
    found.offer("b")
    found.offer("a")
    return found


def test_the_same_request_is_screened_once(world: World) -> None:
    first = world.screening.screened(request())
    assert world.screening.screened(request()) is first
    assert first.ids == ("root:platform/a", "root:platform/b")
    outcome = world.screening.sorted_out(first, ALLOWED, frozenset(), frozenset())
    assert world.screening.sorted_out(first, ALLOWED, frozenset(), frozenset()) is outcome
    assert world.screening.sorted_out(first, dict(ALLOWED), frozenset(), frozenset()) == outcome
    assert world.screening.sorted_out(first, ALLOWED, frozenset({("v1", "X")}), frozenset()) != outcome


def test_what_changes_of_targets_is_seen(world: World) -> None:
    assert world.usable() == ["a", "b"]
    world.offer("c")
    assert world.usable() == ["a", "b", "c"]
    world.offer("a", ready=False)
    assert world.usable() == ["b", "c"]
    put(world.inventory, "root=3Aplatform.b", None)
    assert world.usable() == ["c"]


def test_other_permissions_are_seen(world: World) -> None:
    assert world.usable() == ["a", "b"]
    world.permissions = {**ALLOWED, "root:platform/a": "Denied"}
    assert world.usable() == ["b"]


def test_what_a_policy_says_of_providers_and_a_workspace_of_its_labels_is_seen(world: World) -> None:
    elsewhere = msgspec.structs.replace(target("c"), workspace="root:other")
    put(world.inventory, "root=3Aother.c", elsewhere)
    world.permissions["root:other/c"] = "Allowed"
    assert world.usable() == ["a", "b"]
    spec = msgspec.convert({"providers": ["root:other"]}, PlacementPolicySpec)
    put(world.policies, "root.p", PolicyEntry(workspace="root", name="p", spec=spec))
    assert world.usable() == ["c", "a", "b"]
    put(world.policies, "root.p", None)
    assert world.usable() == ["a", "b"]
    selector = {"selector": {"matchLabels": {"env": "prod"}}}
    only = msgspec.convert({"targets": {"workspaces": selector}}, type(request().spec))
    asked = msgspec.structs.replace(request(), spec=only)
    assert world.screening.screened(asked).ids == ()
    put(world.workspaces, "root=3Aplatform", Workspace(path="root:platform", labels={"env": "prod"}))
    assert world.screening.screened(asked).ids == ("root:platform/a", "root:platform/b")
