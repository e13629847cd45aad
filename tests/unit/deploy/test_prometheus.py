"""Alerts and dashboard name only what is declared, and say what to do; promtool tries them where it was built."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from services import PIPELINE
from shared.process.measured import METRICS
from tests.support import servers
from tests.support.compose import ROOT, SERVICES

FOLDER = ROOT / "deploy/prometheus"
RULES = [each for group in yaml.safe_load((FOLDER / "rules.yaml").read_text())["groups"] for each in group["rules"]]
PANELS = json.loads((ROOT / "deploy/grafana/moorage.json").read_text())["panels"]
OF_THE_PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes"}
SCRAPED = {"job", "instance", "component"}
"""Labels that Prometheus gives to what it reads."""


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression, with what it is from."""
    yield from ((each["alert"], each["expr"]) for each in RULES)
    yield from ((panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"])


def series() -> dict[str, set[str]]:
    """The name of each series that we show, and its labels."""
    found = dict[str, set[str]]()
    for each in METRICS:
        labels = {*each.labels, *SCRAPED}
        if each.kind == "histogram":
            found |= {f"{each.exposed}_{part}": labels for part in ("sum", "count")}
            found[f"{each.exposed}_bucket"] = {*labels, "le"}
        else:
            found[each.exposed] = labels
    return found | dict.fromkeys((*OF_THE_PROCESS, "up"), SCRAPED)


@pytest.mark.parametrize(("where", "expression"), list(expressions()), ids=lambda each: each[:40])
def test_every_metric_and_label_that_is_named_is_declared(where: str, expression: str) -> None:
    known = series()
    named = set(re.findall(r"\b(?:moorage|messaging|process|python)_\w+|\bup\b", re.sub(r'"[^"]*"', '""', expression)))
    assert named
    assert named <= known.keys(), where
    labels = {label for each in re.findall(r"{([^}]*)}", expression) for label in re.findall(r"(\w+)[=!]", each)}
    grouped = {label.strip() for each in re.findall(r"by \(([^)]*)\)", expression) for label in each.split(",")}
    assert labels | grouped <= set().union(*(known[each] for each in named)), where


@pytest.mark.parametrize("rule", RULES, ids=lambda each: each["alert"])
def test_an_alert_says_what_is_so_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["runbook"].endswith(".")
    told = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    kept = {label.strip() for each in re.findall(r"by \(([^)]*)\)", rule["expr"]) for label in each.split(",")}
    assert told <= (kept or SCRAPED)


def test_every_alert_is_tried() -> None:
    tried = (FOLDER / "rules.test.yaml").read_text()
    assert [each["alert"] for each in RULES if each["alert"] not in tried] == []


def test_every_worker_of_compose_is_looked_at() -> None:
    (job,) = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["scrape_configs"]
    assert job["dns_sd_configs"][0]["names"] == list(PIPELINE)
    assert {SERVICES[name]["environment"]["MOORAGE_HEALTH_HOST"] for name in PIPELINE} == {"0.0.0.0"}
    image = (ROOT / "deploy/Dockerfile").read_text()
    assert f"MOORAGE_HEALTH_PORT={job['dns_sd_configs'][0]['port']}" in image


def test_panels_have_places_of_their_own_and_a_sentence() -> None:
    cells = [
        (each["gridPos"]["x"] + x, each["gridPos"]["y"] + y)
        for each in PANELS
        for x in range(each["gridPos"]["w"])
        for y in range(each["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert all(each["description"].endswith(".") for each in PANELS)
    assert len({each["id"] for each in PANELS}) == len(PANELS)


@pytest.mark.servers
@pytest.mark.parametrize(
    "arguments", ["check config prometheus.yaml", "check rules rules.yaml", "test rules rules.test.yaml"]
)
def test_promtool_finds_nothing_wrong(arguments: str) -> None:
    promtool(*arguments.split())


@pytest.mark.servers
def test_every_query_of_the_dashboard_is_one(tmp_path: Path) -> None:
    """As rules, which promtool reads as Prometheus would; what Grafana fills in is filled in before."""
    queries = [re.sub(r"\$__\w+", "5m", target["expr"]) for panel in PANELS for target in panel["targets"]]
    rules = [{"record": f"panel:query:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(file))
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": [{**rules[0], "expr": "sum("}]}]}))
    with pytest.raises(AssertionError, match="parse error"):
        promtool("check", "rules", str(file))


def promtool(*arguments: str) -> None:
    """Have promtool check something; it fails with what that found."""
    folder = servers.PROMETHEUS.find()
    if folder is None:
        reason = f"no promtool in {servers.PROMETHEUS.folder()}: make servers builds it"
        pytest.fail(reason) if os.environ.get("MOORAGE_REQUIRE_SERVERS") else pytest.skip(reason)
    found = subprocess.run(
        [str(folder / "promtool"), *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=60
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_page_lists_every_alert() -> None:
    listed = re.findall(r"^\| (Moorage\w+) \|", (ROOT / "docs/metrics.md").read_text(), flags=re.MULTILINE)
    assert listed == [each["alert"] for each in RULES]
