"""Requests that are odd, malformed or hostile; dry runs; tables."""

import msgspec
import pytest

from shared.kube.errors import KubeError
from shared.kube.resources import CONFIGMAPS
from tests.conformance.api import Api, refusal, watching
from tests.conformance.widgets import WIDGETS, widget

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
TOO_LARGE = 4 << 20  # bytes; API servers take 3 MiB


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"", 400),
        (b"[]", 400),
        (b"null", 422),
        (b'{"apiVersion":"v1"}', 422),
        (b'{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}}', 400),
        (b'{"apiVersion":"v1","kind":"ConfigMap","metadata":[]}', 400),
        (b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":1}}', 400),
        (b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":1}}', 400),
        (b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","labels":[]}}', 400),
        (b'\xff\xfe{"kind"', 400),
    ],
)
async def test_what_cannot_be_read_is_refused_with_a_status(api: Api, body, status):
    error = await refusal(api.admin.request("POST", CONFIGMAPS.path(api.namespace), body=body))
    assert error.status == status
    assert error.message


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "application/x-www-form-urlencoded"])
async def test_unknown_content_is_refused(api: Api, content_type):
    error = await refusal(
        api.admin.request("POST", CONFIGMAPS.path(api.namespace), body=b"a=b", content_type=content_type)
    )
    assert (error.status, error.reason) == (415, "UnsupportedMediaType")


async def test_what_cannot_be_written_as_asked_is_refused(api: Api):
    error = await refusal(api.admin.request("GET", CONFIGMAPS.path(api.namespace), accept="image/png"))
    assert (error.status, error.reason) == (406, "NotAcceptable")


async def test_an_object_may_be_sent_as_yaml(api: Api):
    body = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: v}\n"
    await api.admin.request("POST", CONFIGMAPS.path(api.namespace), body=body, content_type="application/yaml")
    assert (await api.admin.get(CONFIGMAPS, "a", api.namespace))["data"] == {"k": "v"}


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_too_large_a_body_is_refused_and_the_server_goes_on(api: Api):
    huge = api.config_map("a", {"k": "x" * TOO_LARGE})
    with pytest.raises(KubeError) as caught:  # some servers close the connection while the body is under way
        await api.admin.create(CONFIGMAPS, huge)
    assert getattr(caught.value, "status", 413) == 413
    await api.make("b")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/nothings",
        "/api/v9/configmaps",
        "/apis/nowhere.example.com/v1/things",
        "/api/v1/namespaces/default/configmaps/a/b/c",
        "/api/v1/namespaces/default/configmaps/a/status",
        "/nothing/here",
    ],
)
async def test_paths_that_lead_nowhere(api: Api, path):
    error = await refusal(api.admin.request("GET", path))
    assert error.status == 404


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_verbs_that_a_path_does_not_know(api: Api, method):
    path = CONFIGMAPS.path(api.namespace, "a") if method == "POST" else CONFIGMAPS.path(api.namespace)
    body = api.config_map("a")
    content_type = "application/merge-patch+json" if method == "PATCH" else "application/json"
    error = await refusal(api.admin.request(method, path, body=body, content_type=content_type))
    assert (error.status, error.reason) == (405, "MethodNotAllowed")


async def test_a_namespaced_object_is_not_created_outside_of_one(api: Api):
    error = await refusal(api.admin.request("POST", CONFIGMAPS.path(), body={**api.config_map("a")}))
    assert error.status in {400, 404, 405}


@pytest.mark.parametrize("name", ["a%2Fb", "%2e%2e", "..%2f..%2fsecrets"])
async def test_a_path_leads_nowhere_else(api: Api, name):
    path = f"{CONFIGMAPS.path(api.namespace)}/{name}"
    error = await refusal(api.admin.request("GET", path))
    assert error.status in {400, 404}


async def test_deeply_nested_json_is_refused(api: Api):
    body = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}"
    error = await refusal(api.admin.request("POST", CONFIGMAPS.path(api.namespace), body=body))
    assert error.status == 400


async def test_a_dry_run_says_what_would_be_and_does_nothing(api: Api):
    start = (await api.admin.list(WIDGETS, api.namespace)).version
    would = await api.admin.create(WIDGETS, widget("a", api.namespace, color="red"), dry_run=True)
    assert would["spec"]["size"] == 1
    assert would["metadata"]["uid"]
    assert not await api.exists(WIDGETS, "a")
    made = await api.admin.apply(WIDGETS, widget("a", api.namespace, color="red"), field_manager="one")
    would = await api.admin.apply(WIDGETS, widget("a", api.namespace, color="blue"), field_manager="one", dry_run=True)
    assert would["spec"]["color"] == "blue"
    params, path = {"dryRun": "All"}, WIDGETS.path(api.namespace, "a")
    patch = {"body": {"spec": {"size": 3}}, "content_type": "application/merge-patch+json"}
    await api.admin.request("PATCH", path, params=params, **patch)
    await api.admin.request("PUT", path, params=params, body={**made, "spec": {"size": 4}})
    await api.admin.request("DELETE", path, params=params)
    assert await api.admin.get(WIDGETS, "a", api.namespace) == made
    async with watching(api.admin, WIDGETS, api.namespace, resourceVersion=start, timeoutSeconds=1) as events:
        assert [kind for kind, _ in await events.rest()] == ["ADDED"]


async def test_a_dry_run_is_refused_like_the_real_thing(api: Api):
    await api.make("a")
    error = await refusal(api.admin.create(CONFIGMAPS, api.config_map("a"), dry_run=True))
    assert error.already_exists
    error = await refusal(api.admin.create(WIDGETS, widget("a", api.namespace, size=500), dry_run=True))
    assert error.invalid


async def test_only_one_kind_of_dry_run_is_known(api: Api):
    error = await refusal(
        api.admin.request("POST", CONFIGMAPS.path(api.namespace), params={"dryRun": "Some"}, body=api.config_map("a"))
    )
    assert error.status == 422
    assert "dryRun" in error.message


async def table(api: Api, path: str, **params) -> dict:
    return msgspec.json.decode(await api.admin.request("GET", path, accept=TABLE, params=params))


async def test_a_custom_kind_is_shown_in_the_columns_of_its_definition(api: Api):
    await api.admin.create(WIDGETS, widget("a", api.namespace, size=7, color="red"))
    status = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    await api.admin.merge_patch(WIDGETS, "a", status, api.namespace, subresource="status")
    await api.admin.create(WIDGETS, widget("b", api.namespace))
    found = await table(api, WIDGETS.path(api.namespace))
    assert (found["kind"], found["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    columns = [(each["name"], each["type"], each["priority"]) for each in found["columnDefinitions"]]
    assert columns == [
        ("Name", "string", 0),
        ("Size", "integer", 0),
        ("Color", "string", 1),
        ("Ready", "string", 0),
        ("Age", "date", 0),
    ]
    (a, b) = found["rows"]
    assert a["cells"][:4] == ["a", 7, "red", "True"]
    assert b["cells"][:4] == ["b", 1, None, None]
    assert a["object"]["kind"] == "PartialObjectMetadata"
    assert a["object"]["metadata"]["name"] == "a"
    assert "spec" not in a["object"]
    assert found["metadata"]["resourceVersion"]


@pytest.mark.parametrize(("include", "kind"), [("Object", "Widget"), ("None", None)])
async def test_rows_carry_as_much_of_the_object_as_is_asked_for(api: Api, include, kind):
    await api.admin.create(WIDGETS, widget("a", api.namespace))
    found = await table(api, WIDGETS.path(api.namespace), includeObject=include)
    assert ((found["rows"][0].get("object") or {}).get("kind")) == kind


async def test_one_object_and_an_empty_list_are_tables_too(api: Api):
    found = await table(api, WIDGETS.path(api.namespace))
    assert (found["rows"], len(found["columnDefinitions"])) == ([], 5)
    await api.make("a")
    found = await table(api, CONFIGMAPS.path(api.namespace, "a"))
    assert [row["cells"][0] for row in found["rows"]] == ["a"]
    assert found["columnDefinitions"][0]["name"] == "Name"


async def test_pages_work_for_tables(api: Api):
    for name in "abc":
        await api.admin.create(WIDGETS, widget(name, api.namespace))
    first = await table(api, WIDGETS.path(api.namespace), limit=2)
    assert [row["cells"][0] for row in first["rows"]] == ["a", "b"]
    rest = await table(api, WIDGETS.path(api.namespace), limit=2, **{"continue": first["metadata"]["continue"]})
    assert [row["cells"][0] for row in rest["rows"]] == ["c"]


async def test_metadata_alone_can_be_asked_for(api: Api):
    await api.admin.create(WIDGETS, widget("a", api.namespace))
    accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    found = msgspec.json.decode(await api.admin.request("GET", WIDGETS.path(api.namespace), accept=accept))
    assert found["kind"] == "PartialObjectMetadataList"
    assert [(each["kind"], "spec" in each) for each in found["items"]] == [("PartialObjectMetadata", False)]
