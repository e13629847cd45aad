"""Where our kinds come by an export, workspaces that have bound it are followed, and others are asked nothing."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.cli.hub.kcp import binding, provider
from services.cli.hub.objects import KINDS
from services.sandbox.run import serve
from services.sandbox.world.world import World
from shared.api import GROUP
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.hub.resources import APIBINDINGS, SYNCTARGETS, WORKSPACES
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.model.target import Workspace
from shared.pipeline.buckets import INVENTORY
from shared.pipeline.buckets import WORKSPACES as STORED_WORKSPACES
from tests.support.discovery import Scene
from tests.support.manifests import obj
from tests.support.waiting import until

HOME, ACME, FOLDER = "root:moorage", "root:acme", "root:acme:folder"
TEAM, BESIDE = f"{FOLDER}:team", f"{FOLDER}:beside"
UNUSED = tuple(f"{ACME}:unused-{number}" for number in range(20))
WITHIN = 60.0  # seconds


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    spaces = [HOME, ACME, FOLDER, TEAM, BESIDE, *UNUSED]
    async with (
        serve(World(workspaces=spaces, serves=[]), "127.0.0.1", 0, tmp_path, tls=False) as ready,
        Client(load_kubeconfig(ready.kubeconfigs["admin"]), timeout=10.0) as client,
    ):
        for each in provider({}, admission=False):
            await client.cluster(HOME).create(KINDS[each["kind"]], each)
        yield Scene(ready.sandbox, ready.kubeconfigs, client)


def asked(scene: Scene, path: str) -> list[str]:
    """The requests that went to a workspace, by path or id."""
    found = scene.sandbox.clusters.find(path)
    assert found is not None
    return [each for each in scene.requests if f"/clusters/{path}/" in each or f"/clusters/{found.id}/" in each]


async def test_who_binds_is_followed_and_who_does_not_is_asked_nothing(scene: Scene) -> None:
    async def paths(*wanted: str) -> None:
        await until(scene.paths, "these are known", holds=lambda found: found == set(wanted), within=WITHIN)

    async with scene.running(export=f"{HOME}/{GROUP}", roots=ACME, trusted_providers=ACME):
        await paths(ACME)
        team = scene.hub.cluster(TEAM)
        await team.create(APIBINDINGS, binding(HOME, ()))
        await team.create(
            SYNCTARGETS, obj("SyncTarget", SYNCTARGETS.api_version, name="east", namespace="", spec={"agent": {}})
        )
        await paths(ACME, FOLDER, TEAM)
        await until(lambda: scene.entry(TEAM, "east"), "its target is offered", within=WITHIN)
        await scene.hub.cluster(FOLDER).delete(WORKSPACES, "team")
        await paths(ACME)
        await until(
            lambda: scene.entry(TEAM, "east"), "nothing is offered", holds=lambda found: found is None, within=WITHIN
        )
    for path in (*UNUSED, BESIDE):
        assert asked(scene, path) == []


async def test_a_restart_takes_nothing_away_of_who_has_bound_it(scene: Scene) -> None:
    async def paths(*wanted: str) -> None:
        await until(scene.paths, "these are known", holds=lambda found: found == set(wanted), within=WITHIN)

    for path in (TEAM, BESIDE):
        await scene.hub.cluster(path).create(APIBINDINGS, binding(HOME, ()))
    await scene.hub.cluster(TEAM).create(
        SYNCTARGETS, obj("SyncTarget", SYNCTARGETS.api_version, name="east", namespace="", spec={"agent": {}})
    )
    async with scene.running(export=f"{HOME}/{GROUP}", roots=ACME, trusted_providers=ACME):
        await paths(ACME, FOLDER, TEAM, BESIDE)
        await until(lambda: scene.entry(TEAM, "east"), "its target is offered", within=WITHIN)
    await scene.hub.cluster(BESIDE).delete(APIBINDINGS, binding(HOME, ())["metadata"]["name"])
    async with (
        scene.recorded(INVENTORY, STORED_WORKSPACES) as news,
        scene.running(export=f"{HOME}/{GROUP}", roots=ACME, trusted_providers=ACME),
    ):
        await paths(ACME, FOLDER, TEAM)  # so it has swept, and what was said wrongly would be written before
    assert {each.key for each in news if each.value is not None} == {
        join(path) for path in (ACME, FOLDER, TEAM, BESIDE)
    } | {join(TEAM, "east")}
    assert [each.key for each in news if each.value is None] == [join(BESIDE)]


async def test_an_export_that_is_not_there_takes_nothing_away(scene: Scene) -> None:
    await scene.hub.cluster(TEAM).create(APIBINDINGS, binding(HOME, ()))
    async with scene.running(export=f"{HOME}/{GROUP}", roots=ACME, trusted_providers=ACME):
        await until(scene.paths, "it is known", holds=lambda found: TEAM in found, within=WITHIN)
    beyond = "root:elsewhere"  # not below the roots, so that a sweep deletes it, after the others
    await Table(scene.store, STORED_WORKSPACES).put(join(beyond), Workspace(path=beyond))
    async with (
        scene.recorded(INVENTORY, STORED_WORKSPACES) as news,
        scene.running(export=f"{HOME}/mistaken", roots=ACME, trusted_providers=ACME, api_timeout_seconds=0.5),
    ):
        await until(scene.paths, "it has swept", holds=lambda found: beyond not in found, within=WITHIN)
    assert [each.key for each in news if each.value is None] == [join(beyond)]
