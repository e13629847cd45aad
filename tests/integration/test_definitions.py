"""Definitions and their custom resources through the whole pipeline: consent, order, and what is said without."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.broker.table import Table
from shared.hub.resources import SYNCTARGETS
from shared.kube.resources import CRDS, Resource
from shared.pipeline.buckets import INVENTORY
from tests.support import worlds
from tests.support.manifests import condition, definition, obj
from tests.support.together import Together, together, until

WIDGETS = Resource("example.com", "v1alpha1", "widgets", kind="Widget")
DEFINED = definition(WIDGETS.group, "Widget")
WIDGET = obj("Widget", WIDGETS.api_version, name="web", namespace=worlds.NAMESPACE, spec={"size": 1})
LISTED = [{"group": CRDS.group, "kind": CRDS.kind}]
OPEN = "cluster-001"


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[Together]:
    async with together(tmp_path, worlds.world(2, delay=0.01)) as found:
        yield found


async def consent(system: Together) -> None:
    """One of the owners lists the kind, and all workers see that."""
    platform = system.admin.cluster(worlds.PLATFORM)
    await platform.merge_patch(SYNCTARGETS, OPEN, {"spec": {"allowedKinds": LISTED}})

    async def seen() -> bool:
        entries = await Table(system.store, INVENTORY).entries()
        return any(each.value.terms.allowed_kinds for each in entries)

    await until(seen, "the terms are known")


async def placed(system: Together, resource: Resource, name: str) -> list[str]:
    found = [target for target in system.targets if await system.applied(name, target, resource) is not None]
    return sorted(found)


async def test_a_definition_is_refused_before_the_decision_where_no_owner_lists_it_and_goes_where_one_does(
    system: Together,
) -> None:
    await system.place("web", workload=[], manifests=[WIDGET, DEFINED])
    status = await system.reaches("web", "Unschedulable")
    said = condition(status, "Scheduled")["message"]
    assert "2 not allowing CustomResourceDefinition, which has no namespace" in said
    assert await placed(system, CRDS, DEFINED["metadata"]["name"]) == []
    await consent(system)
    await system.reaches("web", "Ready")
    assert await system.chosen("web") == [OPEN]
    assert await placed(system, WIDGETS, "web") == [OPEN]


async def test_what_has_no_namespace_is_selected_by_its_name_and_not_by_labels(system: Together) -> None:
    await consent(system)
    await system.user.create(CRDS, DEFINED)
    selected: dict[str, Any] = {"apiVersion": CRDS.api_version, "kind": CRDS.kind}
    await system.place("labels", workload=[{**selected, "labelSelector": {"matchLabels": {"a": "b"}}}])
    status = await system.reaches("labels", "Unschedulable")
    assert condition(status, "Scheduled")["message"].endswith(
        "CustomResourceDefinition objects are in no namespace, and are placed by their names, not by labels"
    )
    await system.place("name", workload=[{**selected, "name": DEFINED["metadata"]["name"]}])
    await system.reaches("name", "Ready")
    assert await placed(system, CRDS, DEFINED["metadata"]["name"]) == [OPEN]
