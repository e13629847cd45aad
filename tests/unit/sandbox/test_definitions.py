"""CustomResourceDefinitions: validation, defaults, pruning, versions, subresources, columns."""

import pytest

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
SCHEMA = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1, "description": "How large."},
                "color": {"type": "string", "enum": ["red", "green"], "default": "red"},
                "port": {"x-kubernetes-int-or-string": True},
                "note": {"type": "string", "nullable": True},
                "pattern": {"type": "string", "pattern": "^a+$"},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "value": {"x-kubernetes-preserve-unknown-fields": True},
                "nested": {
                    "type": "object",
                    "default": {},
                    "properties": {"depth": {"type": "integer", "default": 3}},
                },
                "parts": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"name": {"type": "string"}, "kind": {"type": "string", "default": "x"}},
                    },
                },
                "template": {
                    "type": "object",
                    "x-kubernetes-embedded-resource": True,
                    "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                },
            },
        },
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}


def version(name, *, storage, served=True, status=True):
    return {
        "name": name,
        "served": served,
        "storage": storage,
        "schema": {"openAPIV3Schema": SCHEMA},
        "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.n"}}
        if status
        else {},
        "additionalPrinterColumns": [
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
            {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
        ],
    }


def definition(*versions):
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["wd"]},
            "versions": list(versions) or [version("v1", storage=True)],
        },
    }


def widget(name="one", **spec):
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"size": 1, **spec}}


@pytest.fixture
async def api(hub):
    await hub("POST", CRDS, definition(), expect=201)
    return hub


async def test_a_definition_is_established_and_served_at_once(api):
    found = await api("GET", f"{CRDS}/widgets.example.com")
    conditions = {c["type"]: c["status"] for c in found["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    assert (await api("GET", WIDGETS))["kind"] == "WidgetList"


async def test_another_workspace_does_not_serve_it(api):
    await api("POST", "/apis/tenancy.kcp.io/v1alpha1/workspaces", {"metadata": {"name": "other"}}, expect=201)
    await api.at("root:other")("GET", WIDGETS, expect=404)


async def test_defaults_are_filled_in(api):
    made = await api("POST", WIDGETS, widget(parts=[{"name": "p"}]), expect=201)
    assert made["spec"] == {
        "size": 1,
        "color": "red",
        "nested": {"depth": 3},
        "parts": [{"name": "p", "kind": "x"}],
    }


async def test_unknown_fields_are_pruned_with_a_warning(api):
    free, value = {"any": {"thing": 1}}, [{"any": [{"thing": 1}]}]
    body = widget(bogus=1, free=free, value=value, template={"apiVersion": "v1", "kind": "X", "spec": {"a": 1}})
    response = await api.raw("POST", WIDGETS, body)
    assert response.status == 201
    assert response.headers["warning"] == '299 - "unknown field \\"spec.bogus\\""'
    found = await api("GET", f"{WIDGETS}/one")
    assert "bogus" not in found["spec"]
    assert (found["spec"]["free"], found["spec"]["value"]) == (free, value)
    assert found["spec"]["template"] == {"apiVersion": "v1", "kind": "X", "spec": {"a": 1}}


async def test_strict_validation_refuses_unknown_fields(api):
    status = await api("POST", WIDGETS, widget(bogus=1), fieldValidation="Strict", expect=400)
    assert status["message"] == (
        'Widget in version "v1" cannot be handled as a Widget: strict decoding error: unknown field "spec.bogus"'
    )


@pytest.mark.parametrize(
    ("spec", "reason", "field", "words"),
    [
        ({"size": "big"}, "FieldValueTypeInvalid", "spec.size", "must be of type integer"),
        ({"size": 0}, "FieldValueInvalid", "spec.size", "should be greater than or equal to 1"),
        ({"size": None}, "FieldValueRequired", "spec.size", "Required value"),
        ({"color": "blue"}, "FieldValueNotSupported", "spec.color", 'supported values: "red", "green"'),
        ({"pattern": "b"}, "FieldValueInvalid", "spec.pattern", "should match"),
        ({"port": 1.5}, "FieldValueTypeInvalid", "spec.port", "must be of type"),
        ({"parts": [{"name": 3}]}, "FieldValueTypeInvalid", "spec.parts[0].name", "must be of type string"),
    ],
)
async def test_what_breaks_the_schema_is_invalid(api, spec, reason, field, words):
    status = await api("POST", WIDGETS, widget(**spec), expect=422)
    assert status["reason"] == "Invalid"
    assert status["message"].startswith('Widget.example.com "one" is invalid: ')
    (cause,) = status["details"]["causes"]
    assert (cause["reason"], cause["field"]) == (reason, field)
    assert words in cause["message"]


async def test_an_applier_keeps_its_fields_when_it_moves_to_another_version(hub):
    await hub("POST", CRDS, definition(version("v1", storage=True), version("v1beta1", storage=False)), expect=201)
    beta = WIDGETS.replace("/v1/", "/v1beta1/")
    await hub.apply(f"{beta}/one", {**widget(port=80), "apiVersion": "example.com/v1beta1"}, expect=201)
    moved = await hub.apply(f"{WIDGETS}/one", widget())
    assert "port" not in moved["spec"]
    assert [entry["apiVersion"] for entry in moved["metadata"]["managedFields"]] == ["example.com/v1"]


async def test_a_required_field_is_named(api):
    body = widget()
    del body["spec"]["size"]
    status = await api("POST", WIDGETS, body, expect=422)
    assert status["details"]["causes"] == [
        {"reason": "FieldValueRequired", "field": "spec.size", "message": "Required value"}
    ]


@pytest.mark.parametrize("spec", [{"port": 80}, {"port": "http"}, {"note": None}, {"pattern": "aaa"}])
async def test_what_the_schema_allows_is_stored(api, spec):
    made = await api("POST", WIDGETS, widget(**spec), expect=201)
    assert made["spec"].items() >= spec.items()


async def test_an_update_of_a_custom_resource_needs_a_version(api):
    made = await api("POST", WIDGETS, widget(), expect=201)
    del made["metadata"]["resourceVersion"]
    status = await api("PUT", f"{WIDGETS}/one", made, expect=422)
    assert "metadata.resourceVersion" in status["message"]


async def test_strategic_merge_is_not_for_custom_resources(api):
    await api("POST", WIDGETS, widget(), expect=201)
    await api.patch(f"{WIDGETS}/one", {"spec": {"size": 2}}, "strategic-merge-patch+json", expect=415)


async def test_every_served_version_reads_the_same_object(hub):
    await hub("POST", CRDS, definition(version("v1", storage=True), version("v1beta1", storage=False)), expect=201)
    await hub("POST", WIDGETS, widget(), expect=201)
    beta = WIDGETS.replace("/v1/", "/v1beta1/")
    found = await hub("GET", f"{beta}/one")
    assert (found["apiVersion"], found["spec"]["size"]) == ("example.com/v1beta1", 1)
    assert (await hub("GET", beta))["items"][0]["apiVersion"] == "example.com/v1beta1"
    await hub("PUT", f"{beta}/one", {**found, "spec": {"size": 5}})
    assert (await hub("GET", f"{WIDGETS}/one"))["spec"]["size"] == 5
    group = await hub("GET", "/apis/example.com")
    assert group["preferredVersion"]["version"] == "v1"


async def test_without_a_status_subresource_status_is_a_field_like_others(hub):
    await hub("POST", CRDS, definition(version("v1", storage=True, status=False)), expect=201)
    made = await hub("POST", WIDGETS, {**widget(), "status": {"n": 1}}, expect=201)
    assert made["status"] == {"n": 1}
    changed = await hub.patch(f"{WIDGETS}/one", {"status": {"n": 2}})
    assert changed["metadata"]["generation"] == 2
    await hub("GET", f"{WIDGETS}/one/status", expect=404)


async def test_scale_follows_the_paths_of_the_definition(api):
    await api("POST", WIDGETS, widget(), expect=201)
    await api.patch(f"{WIDGETS}/one/status", {"status": {"n": 7}})
    scale = await api("GET", f"{WIDGETS}/one/scale")
    assert (scale["spec"], scale["status"]) == ({"replicas": 1}, {"replicas": 7})


async def test_deleting_the_definition_takes_the_objects_along(api):
    await api("POST", WIDGETS, widget(), expect=201)
    events = await api.watch(WIDGETS)
    assert await events.names(1) == [("ADDED", "one")]
    await api("DELETE", f"{CRDS}/widgets.example.com")
    assert await events.names(1) == [("DELETED", "one")]
    with pytest.raises(StopAsyncIteration):
        await events.next()
    await api("GET", WIDGETS, expect=404)
    await api("POST", CRDS, definition(), expect=201)
    assert (await api("GET", WIDGETS))["items"] == []


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["metadata"].update(name="wrong.example.com"),
        lambda d: d["spec"].update(versions=[]),
        lambda d: d["spec"].update(versions=[{"name": "v1", "served": True, "storage": False}]),
        lambda d: d["spec"].update(names={}),
        lambda d: d["spec"]["versions"][0].update(schema={"openAPIV3Schema": {"properties": {"a": {"type": "odd"}}}}),
    ],
)
async def test_a_malformed_definition_is_invalid(hub, change):
    body = definition()
    change(body)
    assert (await hub("POST", CRDS, body, expect=422))["reason"] == "Invalid"


async def test_tables_have_the_printer_columns(api):
    await api("POST", WIDGETS, widget(), expect=201)
    ready = {"status": {"conditions": [{"type": "Other", "status": "x"}, {"type": "Ready", "status": "True"}]}}
    await api.patch(f"{WIDGETS}/one/status", ready)
    accept = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
    table = await api("GET", WIDGETS, headers=accept)
    assert table["kind"] == "Table"
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Size", "Ready"]
    assert table["rows"][0]["cells"] == ["one", 1, "True"]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    events = await api.watch(WIDGETS, headers=accept, allowWatchBookmarks="true")
    kind, first = await events.next()
    assert (kind, first["kind"], first["rows"][0]["cells"][0]) == ("ADDED", "Table", "one")
    await events.close()


SPOILED = {
    "no versions": (lambda spec: spec.update(versions=[]), "at least one version"),
    "two stored": (lambda spec: spec["versions"].append({**spec["versions"][0], "name": "v2"}), "exactly one version"),
    "one name twice": (
        lambda spec: spec["versions"].append({**spec["versions"][0], "storage": False}),
        "Duplicate value",
    ),
    "no schema": (lambda spec: spec["versions"][0].pop("schema"), "schemas are required"),
    "another scope": (lambda spec: spec.update(scope="Everywhere"), "spec.scope"),
    "the plural in capitals": (lambda spec: spec["names"].update(plural="Gadgets"), "spec.names.plural"),
    "no type": (lambda spec: fields(spec).update(a={}), "a].type"),
    "no such type": (lambda spec: fields(spec).update(a={"type": "text"}), 'Unsupported value: "text"'),
    "a list of nothing": (lambda spec: fields(spec).update(a={"type": "array"}), "a].items"),
    "a default of another type": (lambda spec: fields(spec).update(a={"type": "string", "default": 1}), "default"),
    "a key that is no field": (
        lambda spec: fields(spec).update(
            a={"type": "array", "items": {"type": "object"}, "x-kubernetes-list-map-keys": ["name"]}
        ),
        "no such field",
    ),
    "trouble below a map": (
        lambda spec: fields(spec).update(a={"type": "object", "additionalProperties": {"type": "array"}}),
        "additionalProperties.items",
    ),
}


def fields(spec):
    return spec["versions"][0]["schema"]["openAPIV3Schema"]["properties"]


def gadgets(**names):
    openapi = {"openAPIV3Schema": {"type": "object", "properties": {}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": openapi}
    names = {"plural": "gadgets", "kind": "Gadget", **names}
    spec = {"group": "example.io", "scope": "Namespaced", "names": names, "versions": [version]}
    return {"metadata": {"name": f"{names['plural']}.example.io"}, "spec": spec}


@pytest.mark.parametrize("name", SPOILED)
async def test_a_definition_that_cannot_be_served_is_refused(hub, name):
    spoil, said = SPOILED[name]
    body = gadgets()
    spoil(body["spec"])
    status = await hub("POST", CRDS, body, expect=422)
    assert said in status["message"]


async def test_names_that_were_left_out_are_made_and_scope_is_for_good(hub):
    made = await hub("POST", CRDS, gadgets(), expect=201)
    assert (made["spec"]["names"]["singular"], made["spec"]["names"]["listKind"]) == ("gadget", "GadgetList")
    assert made["spec"]["conversion"] == {"strategy": "None"}
    status = await hub.patch(f"{CRDS}/gadgets.example.io", {"spec": {"scope": "Cluster"}}, expect=422)
    assert "field is immutable" in status["message"]


async def test_a_kind_that_is_taken_is_not_served_twice(hub):
    await hub("POST", CRDS, gadgets(), expect=201)
    await hub("POST", CRDS, gadgets(plural="others"), expect=201)
    status = (await hub("GET", f"{CRDS}/others.example.io"))["status"]
    assert {each["type"]: each["status"] for each in status["conditions"]} == {
        "NamesAccepted": "False",
        "Established": "False",
    }
    await hub("GET", "/apis/example.io/v1/namespaces/default/others", expect=404)


async def test_what_is_stored_gets_defaults_that_came_later(hub):
    await hub("POST", CRDS, gadgets(), expect=201)
    path = "/apis/example.io/v1/namespaces/default/gadgets"
    await hub("POST", path, {"metadata": {"name": "a"}}, expect=201)
    body = gadgets()["spec"]
    fields(body)["size"] = {"type": "integer", "default": 3}
    await hub.patch(f"{CRDS}/gadgets.example.io", {"spec": {"versions": body["versions"]}})
    assert (await hub("GET", f"{path}/a"))["size"] == 3
    assert [item["size"] for item in (await hub("GET", path))["items"]] == [3]


HELD = {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}}
DEFINITION = f"{CRDS}/widgets.example.com"


async def test_the_end_of_a_kind_takes_along_what_its_objects_own(api):
    owner = await api("POST", WIDGETS, widget("owner"), expect=201)
    reference = {"apiVersion": "example.com/v1", "kind": "Widget", "name": "owner", "uid": owner["metadata"]["uid"]}
    child = {"metadata": {"name": "child", "ownerReferences": [reference]}}
    await api("POST", "/api/v1/namespaces/default/configmaps", child, expect=201)
    await api("DELETE", DEFINITION)
    await api("GET", "/api/v1/namespaces/default/configmaps/child", expect=404)


async def test_a_definition_without_its_cleanup_finalizer_goes_with_all_objects(api):
    await api("POST", WIDGETS, widget("held") | HELD, expect=201)
    await api("DELETE", DEFINITION)
    await api.patch(DEFINITION, {"metadata": {"finalizers": None}})
    await api("GET", DEFINITION, expect=404)
    await api("GET", WIDGETS, expect=404)
    await api("POST", CRDS, definition(), expect=201)
    assert (await api("GET", WIDGETS))["items"] == []


async def test_a_definition_that_was_refused_goes_at_once(api):
    other = definition()
    other["metadata"]["name"] = "others.example.com"
    other["spec"]["names"] |= {"plural": "others"}
    await api("POST", CRDS, other, expect=201)
    await api("POST", WIDGETS, widget("held") | HELD, expect=201)
    await api("DELETE", f"{CRDS}/others.example.com")
    await api("GET", f"{CRDS}/others.example.com", expect=404)
    await api("GET", f"{WIDGETS}/held")


async def test_a_workspace_goes_whatever_holds_its_definitions(api):
    workspaces = "/apis/tenancy.kcp.io/v1alpha1/workspaces"
    await api("POST", workspaces, {"metadata": {"name": "team"}}, expect=201)
    team = api.at("root:team")
    await team("POST", CRDS, definition(), expect=201)
    await team("POST", WIDGETS, widget("held") | HELD, expect=201)
    await team("DELETE", DEFINITION)
    await api("DELETE", f"{workspaces}/team")
    await team("GET", WIDGETS, expect=404)
