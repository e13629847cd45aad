"""What is generated from the model is what lies in the repository, and what an API server takes."""

from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from shared.api import GROUP, KINDS, SyncTarget
from shared.api.generate.__main__ import ROOT, main
from shared.api.generate.crds import HEADER, api_export, api_resource_schema, crd, generated_files
from shared.api.generate.reference import reference_page
from shared.api.generate.schema import object_schema
from shared.api.resources import RESOURCES

FILES = generated_files()

ALLOWED = {
    "type", "format", "description", "default", "enum", "properties", "required", "items", "additionalProperties",
    "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "maxProperties", "pattern", "anyOf",
    "x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string", "x-kubernetes-embedded-resource",
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-validations",
}  # fmt: skip
"""Keywords that a structural schema may have, and that ours do; `$ref`, `uniqueItems` or `oneOf` are not among them."""


def nodes(schema, path="$"):
    """Every schema node with its path, the root first."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from nodes(schema["additionalProperties"], f"{path}{{}}")


each_resource = pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.plural)


def nodes_of(resource, keyword=None):
    """The nodes of a resource's schema, or those of them that have the keyword."""
    return [(path, node) for path, node in nodes(object_schema(resource.kind)) if keyword is None or keyword in node]


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_committed_file_is_what_the_model_generates(name):
    assert (ROOT / name).read_text(encoding="utf-8") == FILES[name], "run python -m shared.api.generate"


def test_nothing_stale_lies_beside_the_generated_files():
    folders = ("deploy/crds", "deploy/kcp")
    present = {str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).glob("*.yaml")}
    assert present == {name for name in FILES if name.startswith(folders)}


def test_writing_twice_gives_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("shared.api.generate.__main__.ROOT", tmp_path)
    main()
    first = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    main()
    assert {path: path.read_bytes() for path in first} == first
    assert {str(path.relative_to(tmp_path)) for path in first} == set(FILES)


@each_resource
def test_the_schema_is_structural(resource):
    for path, node in nodes_of(resource):
        assert set(node) <= ALLOWED, path
        untyped = node.get("x-kubernetes-preserve-unknown-fields") or node.get("x-kubernetes-int-or-string")
        assert ("type" in node) or untyped, path
        assert not ("properties" in node and "additionalProperties" in node), path
        assert ("items" in node) == (node.get("type") == "array"), path
        assert set(node.get("required", ())) <= set(node.get("properties", ())), path
        if "anyOf" in node:
            assert node["anyOf"] == [{"type": "integer"}, {"type": "string"}], path
            assert node["x-kubernetes-int-or-string"], path


@each_resource
def test_every_field_has_a_sentence(resource):
    for path, node in nodes_of(resource, "properties"):
        for name, child in node["properties"].items():
            assert name == "metadata" or child.get("description", "").endswith("."), f"{path}.{name}"


@each_resource
def test_the_keys_of_a_keyed_list_are_always_there(resource):
    for path, node in nodes_of(resource, "x-kubernetes-list-map-keys"):
        assert node["x-kubernetes-list-type"] == "map", path
        assert set(node["x-kubernetes-list-map-keys"]) <= set(node["items"]["required"]), path


@each_resource
def test_conditions_are_keyed_by_type(resource):
    for path, node in nodes_of(resource):
        if path.endswith(".conditions"):
            assert node["x-kubernetes-list-map-keys"] == ["type"], path


@each_resource
def test_defaults_are_valid_and_in_the_spec_alone(resource):
    for path, node in nodes_of(resource, "default"):
        assert path.startswith("$.spec"), path
        assert jsonschema_rs.is_valid(node, node["default"]), path


@each_resource
def test_rules_see_only_fields_that_cel_can_see(resource):
    """A field of any type has no CEL type: an API server refuses a CRD whose rules name one."""
    for path, node in nodes_of(resource, "x-kubernetes-validations"):
        hidden = [name for name, child in node["properties"].items() if not {"type", "anyOf"} & set(child)]
        for validation in node["x-kubernetes-validations"]:
            assert not any(f"self.{name}" in validation["rule"] for name in hidden), path


@each_resource
def test_every_list_is_bounded_so_that_the_cost_of_rules_is(resource):
    for path, node in nodes_of(resource, "items"):
        assert "maxItems" in node, path


def test_each_kind_is_served_under_its_names():
    served = {}
    for resource in RESOURCES:
        spec = crd(resource)["spec"]
        served[spec["names"]["kind"]] = (spec["names"]["shortNames"], spec["scope"])
        assert spec["names"]["categories"] == ["moorage"]
        in_one_piece = spec["names"]["kind"] in {
            "PlacementDecision",
            "PlacementRevision",
            "WorkloadKind",
        }
        assert spec["versions"][0].get("subresources") == (None if in_one_piece else {"status": {}})
        assert crd(resource)["metadata"]["name"] == f"{spec['names']['plural']}.{GROUP}"
    assert served == {
        "SyncTarget": (["st"], "Cluster"),
        "Placement": (["pl"], "Namespaced"),
        "PlacementPolicy": (["plp"], "Cluster"),
        "PolicyException": (["plx"], "Cluster"),
        "PlacementQuota": (["plq"], "Cluster"),
        "PlacementDecision": (["pld"], "Namespaced"),
        "PlacementBinding": (["plb"], "Namespaced"),
        "PlacementRevision": (["plr"], "Namespaced"),
        "PlacementOverride": (["plo"], "Cluster"),
        "WorkloadKind": (["wk"], "Cluster"),
        "ClusterRequest": (["clr"], "Namespaced"),
    }
    assert set(served) == set(KINDS)


def test_defaults_reach_down_from_the_spec():
    spec = object_schema(SyncTarget)["properties"]["spec"]
    assert spec["default"] == {}
    assert spec["properties"]["unschedulable"]["default"] is False
    assert "default" not in spec["properties"]["cost"]


def test_the_export_offers_every_schema_by_its_name():
    schemas = [api_resource_schema(resource)["metadata"]["name"] for resource in RESOURCES]
    export = api_export()["spec"]
    assert [entry["schema"] for entry in export["resources"]] == schemas
    for resource, name in zip(RESOURCES, schemas, strict=True):
        prefix, rest = name.split(".", 1)
        assert rest == f"{resource.plural}.{GROUP}"
        assert prefix.startswith("v261122-")
    assert ("", "secrets") in {(claim["group"], claim["resource"]) for claim in export["permissionClaims"]}


@each_resource
def test_kcp_gets_the_same_schema_as_kubernetes(resource):
    (version,) = api_resource_schema(resource)["spec"]["versions"]
    assert version["schema"] == crd(resource)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def test_files_say_where_they_come_from():
    for name, text in FILES.items():
        if name.endswith(".yaml"):
            assert text.startswith(HEADER)
            assert all(document["apiVersion"] and document["kind"] for document in yaml.safe_load_all(text)), name


def test_the_reference_names_every_field_and_links_to_what_is_there():
    page = reference_page()
    for resource in RESOURCES:
        assert f"## {resource.kind.__name__}\n" in page
        for path, node in nodes(object_schema(resource.kind)):
            for name in node.get("properties", {}) if path != "$.metadata" else ():
                assert f"| `{name}` |" in page
    anchors = {line.removeprefix("### ").lower() for line in page.splitlines() if line.startswith("### ")}
    links = {part.split(")")[0] for part in page.split("](#")[1:]}
    assert links <= anchors


def test_the_source_tree_is_where_the_files_are_written():
    assert (ROOT / "shared" / "api").samefile(Path(__file__).parents[3] / "shared" / "api")
