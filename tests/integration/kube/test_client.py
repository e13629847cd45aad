"""The client against a real HTTP server that answers what is scripted."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from shared.kube.client import Client
from shared.kube.config import Credentials
from shared.kube.errors import ApiError, ConfigError, Unreachable
from shared.kube.resources import CONFIGMAPS, NAMESPACES, Resource

PATH = "/api/v1/namespaces/shop/configmaps"
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web", "namespace": "shop"}, "data": {"a": "b"}}
DEPLOYMENTS = Resource("apps", "v1", "deployments", kind="Deployment")


class Meta(msgspec.Struct):
    name: str


class Config(msgspec.Struct):
    metadata: Meta
    data: dict[str, str] = {}


async def test_get_decodes_a_dict_unless_a_type_is_named(server, reply, client):
    server.on("GET", f"{PATH}/web", reply(CONFIG))
    assert await client.get(CONFIGMAPS, "web", "shop") == CONFIG
    assert await client.get(CONFIGMAPS, "web", "shop", type=Config) == Config(Meta("web"), {"a": "b"})
    assert server.seen[0].headers["Authorization"] == "Bearer s3cret"


async def test_list_walks_all_pages_and_completes_the_items_of_built_in_kinds(server, reply, client):
    first = {"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "7", "continue": "more"}}
    last = {"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}}
    item = {"metadata": {"name": "web"}}
    server.on("GET", PATH, reply({**first, "items": [item]}), reply({**last, "items": [item]}))
    page = await client.list(CONFIGMAPS, "shop", label_selector="app in (a, b)")
    assert page.version == "7"
    assert page.items == [{"apiVersion": "v1", "kind": "ConfigMap", **item}] * 2
    assert [seen.query.get("continue") for seen in server.seen] == [None, "more"]
    assert {seen.query["labelSelector"] for seen in server.seen} == {"app in (a, b)"}


async def test_list_reads_in_one_piece_when_its_pages_expire(server, reply, client):
    begun = {"metadata": {"resourceVersion": "7", "continue": "more"}, "items": []}
    whole = {"metadata": {"resourceVersion": "9"}, "items": None}
    server.on("GET", PATH, reply(begun), reply({"code": 410, "reason": "Expired"}, 410), reply(whole))
    page = await client.list(CONFIGMAPS, "shop")
    assert (page.version, page.items) == ("9", [])
    assert "limit" not in server.seen[-1].query


@pytest.mark.parametrize(
    ("call", "method", "path", "query", "content_type"),
    [
        (lambda c: c.create(CONFIGMAPS, CONFIG, dry_run=True), "POST", PATH, {"dryRun": "All"}, "application/json"),
        (
            lambda c: c.replace(CONFIGMAPS, CONFIG, subresource="status"),
            "PUT",
            f"{PATH}/web/status",
            {},
            "application/json",
        ),
        (
            lambda c: c.merge_patch(CONFIGMAPS, "web", {"data": None}, "shop", field_manager="me"),
            "PATCH",
            f"{PATH}/web",
            {"fieldManager": "me"},
            "application/merge-patch+json",
        ),
        (
            lambda c: c.json_patch(CONFIGMAPS, "web", [{"op": "remove", "path": "/data"}], "shop"),
            "PATCH",
            f"{PATH}/web",
            {},
            "application/json-patch+json",
        ),
        (
            lambda c: c.apply(CONFIGMAPS, CONFIG, force=True, dry_run=True),
            "PATCH",
            f"{PATH}/web",
            {"fieldManager": "moorage", "force": "true", "dryRun": "All"},
            "application/apply-patch+yaml",
        ),
    ],
)
async def test_writes_go_out_as_the_api_server_expects(server, reply, client, call, method, path, query, content_type):
    server.on(method, path, reply(CONFIG, 201))
    assert await call(client) == CONFIG
    assert (server.seen[0].query, server.seen[0].headers["Content-Type"]) == (query, content_type)


async def test_delete_sends_its_preconditions(server, reply, client):
    server.on("DELETE", f"{PATH}/web", reply({"kind": "Status", "status": "Success"}))
    await client.delete(CONFIGMAPS, "web", "shop", propagation="Foreground", uid="u", resource_version="3")
    assert server.seen[0].json == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Foreground",
        "preconditions": {"uid": "u", "resourceVersion": "3"},
    }
