"""The client against a real HTTP server that answers what is scripted."""

import asyncio

import msgspec
import pytest

from shared.kube.auth.kubeconfig import Credentials
from shared.kube.client import Bounds, Client
from shared.kube.errors import ApiError, ConfigError, TooLarge, Unreachable
from shared.kube.resources import CONFIGMAPS

PATH = "/api/v1/namespaces/shop/configmaps"
STATUS = {"kind": "Status", "apiVersion": "v1"}
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web", "namespace": "shop"}, "data": {"a": "b"}}


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


@pytest.mark.parametrize(
    ("answer", "check"),
    [
        (
            ({**STATUS, "reason": "Conflict", "message": "stale"}, 409),
            lambda e: e.conflict and e.message == "stale",
        ),
        (({**STATUS, "reason": "AlreadyExists"}, 409), lambda e: e.already_exists and not e.conflict),
        (({**STATUS, "reason": "Forbidden"}, 403), lambda e: e.forbidden),
        (({}, 429, {"Retry-After": "3"}), lambda e: e.too_many_requests and e.retry_after == 3.0),
        ((b"<h1>Bad Gateway</h1>", 502), lambda e: e.transient and "Bad" not in str(e)),
        ((b"", 302, {"Location": "http://elsewhere.invalid/"}), lambda e: e.status == 302),
    ],
)
async def test_an_answer_that_is_not_success_is_an_api_error(server, reply, client, answer, check):
    server.on("GET", f"{PATH}/web", reply(*answer))
    with pytest.raises(ApiError) as caught:
        await client.get(CONFIGMAPS, "web", "shop")
    assert check(caught.value)


async def test_expired_pages_are_the_only_error_that_list_recovers_from(server, reply, client):
    server.on("GET", PATH, reply({"reason": "Forbidden"}, 403))
    with pytest.raises(ApiError):
        await client.list(CONFIGMAPS, "shop")
    assert len(server.seen) == 1


@pytest.mark.parametrize("answer", [{"body": b"not json"}, {"body": b"[]"}, {"body": CONFIG, "cut": True}])
async def test_an_answer_that_is_broken_is_unreachable(server, reply, client, answer):
    server.on("GET", f"{PATH}/web", reply(**answer))
    with pytest.raises(Unreachable):
        await client.get(CONFIGMAPS, "web", "shop")


async def test_a_list_that_is_broken_is_unreachable(server, reply, client):
    server.on("GET", PATH, reply({"items": 3}))
    with pytest.raises(Unreachable, match="something unexpected"):
        await client.list(CONFIGMAPS, "shop")


async def test_a_server_that_does_not_answer_is_unreachable_after_the_timeout(server, reply, client):
    server.on("GET", "/readyz", reply(hang=True))
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:\d+ did not answer within 0\.05 s"):
        await client.request("GET", "/readyz", timeout=0.05)


async def test_a_port_where_nobody_listens_is_unreachable(unused_tcp_port):
    async with Client(Credentials(server=f"http://127.0.0.1:{unused_tcp_port}", token="s3cret")) as client:
        with pytest.raises(Unreachable) as caught:
            await client.request("GET", "/readyz")
    assert "s3cret" not in str(caught.value)


async def test_an_event_without_end_is_cut_off(server, client, monkeypatch):
    monkeypatch.setattr("shared.kube.transport._MAX_LINE", 1 << 20)

    async def read() -> None:
        async with client.stream(PATH, params={"watch": True}, idle=5) as lines:
            async for _ in lines:
                pass

    reading = asyncio.create_task(read())
    (await server.watch()).raw(b"x" * (2 << 20))
    with pytest.raises(Unreachable, match="over 1 MiB"):
        await asyncio.wait_for(reading, 5)


async def test_views_share_the_connections_and_closing_one_does_nothing(server, reply, client):
    server.on("GET", "/clusters/root:a/api/v1/namespaces/shop/configmaps/web", reply(CONFIG))
    server.on("GET", "/services/x/version", reply({"major": "1"}))
    async with client.cluster("root:b").cluster("root:a") as view:
        assert await view.get(CONFIGMAPS, "web", "shop") == CONFIG
    assert await client.at("/services/x/").request("GET", "/version") == b'{"major": "1"}'
    assert await client.at(f"{server.url}/services/x").request("GET", "/version", body=b"raw") == b'{"major": "1"}'
    assert server.seen[-1].body == b"raw"


async def test_a_closed_client_stays_closed(server, reply):
    client = Client(Credentials(server=server.url))
    server.on("GET", "/version", reply({}))
    await client.request("GET", "/version")
    assert "Authorization" not in server.seen[0].headers
    await client.close()
    with pytest.raises(Unreachable, match="the client is closed"):
        await client.request("GET", "/version")


async def test_proxies_of_the_environment_are_not_used(server, reply, client, monkeypatch, unused_tcp_port):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{unused_tcp_port}")
    server.on("GET", "/version", reply({}))
    assert await client.request("GET", "/version") == b"{}"


async def test_a_token_file_is_read_again_when_it_changes(server, reply, tmp_path):
    server.on("GET", "/version", reply({}))
    token = tmp_path / "token"
    async with Client(Credentials(server=server.url, token_file=token)) as client:
        with pytest.raises(ConfigError, match="token cannot be read"):
            await client.request("GET", "/version")
        for text in ("first\n", "second!\n"):
            token.write_text(text)
            await client.request("GET", "/version")
            await client.request("GET", "/version")
    sent = [seen.headers["Authorization"] for seen in server.seen]
    assert sent == ["Bearer first"] * 2 + ["Bearer second!"] * 2


async def test_the_proxy_of_the_credentials_is_used(server, reply):
    server.on("GET", "/version", reply({}))
    async with Client(Credentials(server="http://api.invalid", proxy=server.url)) as client:
        assert await client.request("GET", "/version") == b"{}"
    assert server.seen[0].headers["Host"] == "api.invalid"


async def test_a_stream_begins_within_the_timeout_or_is_unreachable(server, reply, client):
    server.on("WATCH", PATH, reply(hang=True))
    client.timeout = 0.05
    with pytest.raises(Unreachable, match=r"did not answer within 0\.05 s"):
        async with client.stream(PATH, params={"watch": True}, idle=5):
            pass


async def test_a_collection_is_taken_within_bounds(server, reply, client):
    page = {"kind": "ConfigMapList", "items": [{"metadata": {"name": "a"}}], "metadata": {"continue": "more"}}
    empty = {**page, "items": []}
    for answer, bounds in (
        (page, Bounds(objects=5, bytes=1 << 20)),
        (empty, Bounds(objects=5, bytes=1 << 20)),
        (page, Bounds(objects=1000, bytes=600)),
    ):
        server.on("GET", PATH, reply(answer))
        with pytest.raises(TooLarge):
            async for _ in client.pages(CONFIGMAPS, "shop", bounds=bounds):
                pass
    assert server.count("GET", PATH) < 30


async def test_a_bounded_view_takes_no_large_body(server, reply, client):
    server.on("GET", "/version", reply(b"x" * (3 << 20)))
    assert len(await client.request("GET", "/version")) == 3 << 20
    with pytest.raises(TooLarge, match="over 1048576 bytes"):
        await client.bounded(1 << 20).request("GET", "/version")


async def test_an_address_that_is_none_is_unreachable_like_any_other():
    async with Client(Credentials(server="https://host:99999")) as client:
        with pytest.raises(Unreachable, match="no URL"):
            await client.request("GET", "/version")
