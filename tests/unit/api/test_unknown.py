"""Misspelt fields are found wherever they are."""

import pytest

from shared.api.unknown import unknown_fields


@pytest.mark.parametrize(
    ("manifest", "unknown"),
    [
        ({"kind": "Placement", "apiVersion": "x", "metadata": {"any": 1}, "spec": {"targets": {"all": True}}}, []),
        ({"kind": "Placement", "specs": {}, "spec": {"targts": {}}}, ["specs", "spec.targts"]),
        (
            {"kind": "Placement", "spec": {"spread": [{"topologyKey": "r"}, {"topology": "r"}]}},
            ["spec.spread[1].topology"],
        ),
        ({"kind": "Placement", "spec": {"targets": {"count": {"mini": 1}}}}, ["spec.targets.count.mini"]),
        ({"kind": "Placement", "spec": {"strategy": {"scorers": [{"args": {"any": {"thing": 1}}}]}}}, []),
        ({"kind": "Placement", "spec": {"manifests": [{"any": {"thing": 1}}], "targets": 3}}, []),
        ({"kind": "SyncTarget", "status": {"allocatable": {"cpu": 1}, "allocateable": {}}}, ["status.allocateable"]),
    ],
)
def test_fields_that_no_kind_knows_are_named_by_their_path(manifest, unknown) -> None:
    assert list(unknown_fields(manifest)) == unknown
