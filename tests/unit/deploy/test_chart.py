"""deploy/helm/moorage, without Helm: what it is made of is what there is."""

import json
import re

import jsonschema_rs
import pytest
import yaml

from services import PIPELINE
from tests.support.chart import CHART, COPIED, COPIES, FACTS, RENDERED, ROOT, facts

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


def valid(values: object) -> bool:
    return bool(jsonschema_rs.validator_for(SCHEMA).is_valid(values))


def test_what_the_chart_knows_of_workers_is_what_they_declare() -> None:
    assert FACTS.read_text() == facts(), "run python -m tests.support.chart"


def test_the_default_values_are_valid_and_name_every_worker() -> None:
    assert valid(VALUES)
    assert list(VALUES["workers"]) == list(PIPELINE) == list(SCHEMA["properties"]["workers"]["properties"])


def test_every_value_has_a_schema() -> None:
    def undescribed(values: dict[str, object], schema: dict[str, dict[str, object]], at: str = "") -> list[str]:
        missing = []
        for name, value in values.items():
            found = schema.get("properties", {}).get(name)
            if found is None:
                missing.append(f"{at}{name}")
            elif isinstance(value, dict) and "properties" in found:
                missing += undescribed(value, found, f"{at}{name}.")  # type: ignore[arg-type] - JSON
        return missing

    assert undescribed(VALUES, SCHEMA) == []


@pytest.mark.parametrize(
    "values",
    [
        {"replicas": 3},
        {"workers": {"scheduler": {"replica": 3}}},
        {"workers": {"planner": {}}},
        {"nats": {"url": "nats.nats.svc:4222"}},
        {"nats": {"streamReplicas": 2}},
        {"settings": {"PATH": "/"}},
        {"autoscaling": {"type": "keda"}},
        {"autoscaling": {"scaleDownSeconds": 7200}},
        {"prometheusRule": {"groups": []}},
    ],
)
def test_values_that_nothing_acts_on_are_refused(values: object) -> None:
    assert not valid(values)


@pytest.mark.parametrize("folder", RENDERED, ids=lambda folder: folder.name)
def test_the_values_of_what_is_rendered_are_valid(folder: object) -> None:
    assert valid(yaml.safe_load((folder / "values.yaml").read_text()))  # type: ignore[operator] - a Path


def test_the_chart_has_the_version_of_the_package() -> None:
    package = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert package
    assert chart["version"] == chart["appVersion"] == package[1]


def test_rights_admission_definitions_alerts_and_dashboard_are_the_files_that_are_applied_and_tested() -> None:
    there = {str(path.relative_to(COPIED)) for path in COPIED.rglob("*") if path.is_file()}
    assert there - {FACTS.name} == set(COPIES)
    differing = [name for name, path in COPIES.items() if (COPIED / name).read_bytes() != path.read_bytes()]
    assert differing == [], "run python -m tests.support.chart"
    assert not [path for path in COPIED.rglob("*") if path.is_symlink()]
