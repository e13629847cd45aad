"""Whom policies hold for by labels of workspaces and namespaces, on the whole pipeline, and who tries to get out."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.hub.resources import PLACEMENTS, POLICIES, WORKSPACES
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import DEPLOYMENTS, NAMESPACES, Resource
from tests.support import worlds
from tests.support.below import BELOW, NOWHERE, TENANT, tenant_below
from tests.support.manifests import condition, deployment, obj, placement, policy
from tests.support.together import Together
from tests.support.waiting import until

PROD = {"matchLabels": {"env": "prod"}}


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[Together]:
    async with tenant_below(tmp_path) as found:
        yield found


@pytest.fixture
async def above(system: Together) -> Client:
    """Alice's workspace, above the tenant's: bob has no rights there."""
    return system.admin.cluster(worlds.TEAM)


async def label(client: Client, resource: Resource, name: str, **labels: str | None) -> None:
    await client.merge_patch(resource, name, {"metadata": {"labels": labels}})


async def test_a_tenant_does_not_get_out_of_a_policy_by_the_labels_of_its_workspace(
    system: Together,
    above: Client,
) -> None:
    """It may write no label of its own workspace, and whatever it writes on its namespace and its Placement is none."""
    await above.create(POLICIES, policy("closed", NOWHERE, match={"workspaceSelector": PROD}))
    await system.place("web", worlds.deployment("web"))
    await system.reaches("web", "Ready")
    await label(above, WORKSPACES, "web", env="prod")
    await system.reaches("web", "Unschedulable")
    for act in (
        label(system.user.cluster(worlds.TEAM), WORKSPACES, "web", env="lab"),
        system.user.cluster(worlds.TEAM).delete(WORKSPACES, "web"),
    ):
        with pytest.raises(ApiError) as raised:
            await act
        assert raised.value.forbidden
    await label(system.user, NAMESPACES, worlds.NAMESPACE, env="lab")
    await system.user.merge_patch(PLACEMENTS, "web", {"metadata": {"labels": {"env": "lab"}}}, worlds.NAMESPACE)
    status = await system.reaches("web", "Unschedulable")
    assert "not there" in condition(status, "Scheduled")["message"]
    await label(above, WORKSPACES, "web", env=None)
    await system.reaches("web", "Ready")


async def test_a_tenant_does_not_get_out_of_a_policy_in_a_workspace_below_its_own(
    system: Together,
    above: Client,
) -> None:
    await label(above, WORKSPACES, "web", env="prod")
    await above.create(POLICIES, policy("closed", NOWHERE, match={"workspaceSelector": PROD}))
    await label(system.user, WORKSPACES, "below", env="lab")
    below = system.user.cluster(BELOW)
    await below.create(NAMESPACES, obj("Namespace", name="shop", namespace=""))
    await below.create(DEPLOYMENTS, deployment())
    await below.create(PLACEMENTS, placement())

    async def refused() -> bool:
        found = (await below.get(PLACEMENTS, "web", "shop")).get("status") or {}
        return "not there" in condition(found, "Scheduled").get("message", "")

    await until(refused)


async def test_labels_of_a_namespace_are_those_of_who_may_write_them(system: Together, above: Client) -> None:
    """As the page says: who administers a workspace may label its namespaces, and so is let go. Their name is a label
    that the API server writes."""
    await label(system.admin.cluster(TENANT), NAMESPACES, worlds.NAMESPACE, env="prod")
    await above.create(POLICIES, policy("closed", NOWHERE, match={"namespaceSelector": PROD}))
    await system.place("web", worlds.deployment("web"))
    await system.reaches("web", "Unschedulable")
    await label(system.user, NAMESPACES, worlds.NAMESPACE, env="lab")
    await system.reaches("web", "Ready")

    named = {"env": None, "kubernetes.io/metadata.name": worlds.NAMESPACE}
    await above.merge_patch(POLICIES, "closed", {"spec": {"match": {"namespaceSelector": {"matchLabels": named}}}})
    await system.reaches("web", "Unschedulable")
