"""Objects without the fields that others own."""

from typing import Any

import pytest

from services.binding.target.fields import conflict, uncontested
from shared.api import ManifestReference
from shared.kube.errors import ApiError

OBJECT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "annotations": {"shop.io/a": "b"}},
    "spec": {
        "replicas": 2,
        "template": {"spec": {"containers": [{"name": "main", "image": "x"}, {"name": "side", "image": "y"}]}},
        "ports": [{"port": 80, "protocol": "TCP", "nodePort": 1}],
    },
}


def refused(*fields: str) -> ApiError:
    causes = [
        {"reason": "FieldManagerConflict", "field": each, "message": 'conflict with "hpa" using apps/v1'}
        for each in fields
    ]
    return ApiError(409, "Conflict", "", {"causes": causes})


@pytest.mark.parametrize(
    ("field", "holder", "left"),
    [
        (".spec.replicas", ("spec",), {"template", "ports"}),
        ('.spec.template.spec.containers[name="side"].image', ("spec", "template", "spec", "containers", 1), {"name"}),
        ('.spec.ports[port=80,protocol="TCP"].nodePort', ("spec", "ports", 0), {"port", "protocol"}),
    ],
)
def test_a_contested_field_is_left_out_and_nothing_else(field: str, holder: tuple[Any, ...], left: set[str]) -> None:
    rest: Any = uncontested(OBJECT, refused(field))
    assert rest is not None
    for step in holder:
        rest = rest[step]
    assert set(rest) == left
    assert OBJECT["spec"]["replicas"] == 2  # type: ignore[index]  # what was given stays as it is


@pytest.mark.parametrize(
    "field",
    ["", ".spec.absent", ".spec.template.spec.containers", ".spec.ports[port=81].nodePort", ".spec.x[=1]", "nonsense"],
)
def test_a_field_that_is_not_found_leaves_no_rest_or_takes_a_whole_list(field: str) -> None:
    rest = uncontested(OBJECT, refused(field))
    assert rest is None or field == ".spec.template.spec.containers"


def test_a_conflict_names_the_object_its_fields_and_their_owner() -> None:
    ref = ManifestReference(api_version="apps/v1", kind="Deployment", name="web", namespace="shop")
    trouble = conflict(ref, refused(".spec.replicas", ".spec.paused"))
    assert (trouble.condition, trouble.reason, trouble.lasting) == ("ConflictFree", "FieldConflict", True)
    assert trouble.message == (
        "Deployment shop/web: hpa owns .spec.paused, .spec.replicas; conflictPolicy TakeOver would take it over"
    )
