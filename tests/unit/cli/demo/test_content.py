"""Which objects the content of a world is made of, and in what order they are applied."""

from pathlib import Path

import pytest

from services.cli.demo import content
from services.cli.support import offers
from services.cli.support.errors import CommandError

EXAMPLES = Path(__file__).parents[4] / "examples"


def obj(kind, name="a", namespace=""):
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": name} | ({"namespace": namespace} if namespace else {}),
    }


def test_namespaces_come_first_then_what_is_placed_then_who_decides():
    given = [
        obj("Placement", namespace="shop"),
        obj("PlacementPolicy"),
        obj("Secret", namespace="shop"),
        obj("Namespace", "x"),
    ]
    found = content.ordered(given)
    assert [(one["kind"], one["metadata"]["name"]) for one in found] == [
        ("Namespace", "shop"),
        ("Namespace", "x"),
        ("Secret", "a"),
        ("PlacementPolicy", "a"),
        ("Placement", "a"),
    ]


def test_a_namespace_that_is_given_is_not_made_up():
    found = content.ordered([obj("Secret", namespace="shop"), obj("Namespace", "shop")])
    assert [one["kind"] for one in found] == ["Namespace", "Secret"]


def test_the_examples_are_a_web_shop_of_at_least_ten_deployments():
    parts = offers.read(EXAMPLES / "world.yaml").content
    objects = [one for part in parts for one in content.read(EXAMPLES, part.files)]
    assert sum(one["kind"] == "Deployment" for one in objects) >= 10
    assert {"Service", "ConfigMap", "Secret", "Placement", "PlacementPolicy"} <= {one["kind"] for one in objects}


@pytest.mark.parametrize(
    ("text", "message"), [(None, "cannot be read: No such file"), ("a: [", "broken.yaml: while parsing")]
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, text, message):
    if text is not None:
        (tmp_path / "broken.yaml").write_text(text)
    with pytest.raises(CommandError, match=message):
        content.read(tmp_path, ["broken.yaml"])


def test_documents_without_content_are_left_out(tmp_path):
    (tmp_path / "one.yaml").write_text("---\n---\nkind: Secret\n---\n")
    assert content.read(tmp_path, ["one.yaml"]) == [{"kind": "Secret"}]
