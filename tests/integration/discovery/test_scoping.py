"""Labels by which policies choose placements, as discovery adds them to questions."""

from services.discovery.scoping import Scoping
from shared.api import LabelSelector, PlacementPolicySpec, PlacementSpec, PolicyMatch, Rule
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.hub.hub import Hub
from shared.kube.resources import NAMESPACES
from shared.model.policy import PolicyEntry
from shared.model.refs import Head, PlacementRef, PolicyRef
from shared.model.request import Cause, Request, ScopeLabels
from shared.model.target import Workspace
from shared.pipeline.buckets import POLICIES, WORKSPACES
from tests.support.discovery import Scene
from tests.support.manifests import obj
from tests.support.scene import follow

TEAM = "root:team"
GOLD = LabelSelector(match_labels={"tier": "gold"})


def question(namespace: str) -> Request:
    return Request(
        placement=PlacementRef(workspace=TEAM, namespace=namespace, name="web"),
        head=Head(uid="", generation=1, attempt=1),
        cause=Cause(code="Asked"),
        spec=PlacementSpec(),
    )


async def scoped(scene: Scene, namespace: str, **match: LabelSelector) -> ScopeLabels:
    """What is told of a placement there, with a policy that matches so."""
    policies, workspaces = Table(scene.store, POLICIES), Table(scene.store, WORKSPACES)
    spec = PlacementPolicySpec(rules=(Rule(name="r", expression="true"),), match=PolicyMatch(**match))
    entry = PolicyEntry(workspace="root", name="p", spec=spec)
    await policies.put(PolicyRef.of(entry).key, entry)
    await workspaces.put(join(TEAM), Workspace(path=TEAM, labels={"env": "prod"}))
    async with follow(scene, POLICIES, WORKSPACES) as (known, tree):
        found = await Scoping(Hub(scene.hub, "kcp"), known, tree).scoped(question(namespace))
    return found.scope_labels


async def test_a_question_is_told_the_labels_that_policies_go_by_and_no_others(scene: Scene) -> None:
    labels = {"name": "shop", "labels": {"tier": "gold"}}
    await scene.hub.cluster(TEAM).create(
        NAMESPACES, {**obj("Namespace", name="shop", namespace=""), "metadata": labels}
    )
    assert await scoped(scene, "shop") == ScopeLabels()
    assert await scoped(scene, "shop", workspace_selector=GOLD) == ScopeLabels(workspaces={TEAM: {"env": "prod"}})
    found = await scoped(scene, "shop", namespace_selector=GOLD)
    assert found.namespace is not None
    assert (found.workspaces, found.namespace["tier"]) == ({}, "gold")


async def test_labels_of_a_namespace_that_is_not_there_are_not_known(scene: Scene) -> None:
    assert await scoped(scene, "gone", namespace_selector=GOLD) == ScopeLabels()
