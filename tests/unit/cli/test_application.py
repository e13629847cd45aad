"""A whole application as one Placement."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from services.cli.hub.objects import manifests
from services.cli.support.application import MOST, SELECTED, NoApplication, application
from shared.api import decode_placement, validate_placement
from tests.support.manifests import definition, deployment, obj

LEDGER = Path(__file__).parents[3] / "examples" / "ledger" / "app.yaml"


def service(name: str = "web", namespace: str = "") -> dict[str, Any]:
    return obj("Service", name=name, namespace=namespace, spec={"ports": [{"port": 80}]})


def plural(kind: str) -> str:
    word = kind.lower()
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}es" if word.endswith("ss") else f"{word}s"


def test_what_is_selected_is_what_workers_may_read_on_every_hub():
    common = next(each for each in manifests() if each["metadata"]["name"] == "moorage-workloads-common")
    readable = {(group, one) for rule in common["rules"] for group in rule["apiGroups"] for one in rule["resources"]}
    assert {(group, plural(kind)) for group, kind in SELECTED} == readable


def test_the_example_is_placed_whole_with_its_definition_inline_and_its_secrets_not():
    objects = [each for each in yaml.safe_load_all(LEDGER.read_text()) if each]
    placement, selected = application(objects, "ledger", "ledger", {"region": "eu"}, 2)
    assert validate_placement(decode_placement(placement)) == []
    inline = placement["spec"]["manifests"]
    assert {each["kind"] for each in inline} == {"CustomResourceDefinition", "Account"}
    assert len(selected) + len(inline) == len(objects)
    assert [each["name"] for each in placement["spec"]["workload"]] == [each["metadata"]["name"] for each in selected]
    assert placement["spec"]["targets"] == {
        "count": {"min": 2},
        "selector": {"matchLabels": {"topology.kubernetes.io/region": "eu"}},
    }


def test_objects_without_a_namespace_get_that_of_the_application_and_others_are_refused():
    _, (made,) = application([service()], "web", "shop", {}, 1)
    assert made["metadata"]["namespace"] == "shop"
    with pytest.raises(NoApplication, match="Service web is in the namespace other"):
        application([service(namespace="other")], "web", "shop", {}, 1)
    with pytest.raises(NoApplication, match="Namespace shop"):
        application([obj("Namespace", name="shop", namespace="")], "web", "shop", {}, 1)


def test_tests_of_a_chart_are_left_out_and_nothing_else_is_nothing():
    test = service("test")
    test["metadata"]["annotations"] = {"helm.sh/hook": "test-success, post-install"}
    assert application([test, service()], "web", "shop", {}, 1)[0]["spec"]["workload"] == [
        {"apiVersion": "v1", "kind": "Service", "name": "web"}
    ]
    with pytest.raises(NoApplication, match="nothing to place"):
        application([test], "web", "shop", {}, 1)


def test_more_than_a_placement_can_name_is_refused_with_what_to_do():
    with pytest.raises(NoApplication, match=r"65 objects that a Placement names.*all: true"):
        application([service(f"s{number}") for number in range(MOST + 1)], "web", "shop", {}, 1)


@given(st.lists(st.sampled_from(["service", "deployment", "definition", "role"]), min_size=1, max_size=40))
def test_nothing_is_lost_and_no_secret_is_inline(kinds):
    made = {
        "service": lambda n: service(f"a{n}"),
        "deployment": lambda n: deployment(f"a{n}"),
        "definition": lambda n: definition("example.com", f"Kind{n}"),
        "role": lambda n: obj("Role", "rbac.authorization.k8s.io/v1", name=f"a{n}", namespace=""),
    }
    objects = [made[kind](number) for number, kind in enumerate(kinds)]
    placement, selected = application(objects, "web", "shop", {}, 1)
    spec = placement["spec"]
    names = [each["metadata"]["name"] for each in (*selected, *spec.get("manifests", ()))]
    assert sorted(names) == sorted(each["metadata"]["name"] for each in objects)
    assert {each["kind"] for each in spec.get("manifests", ())} <= {"CustomResourceDefinition", "Role"}
