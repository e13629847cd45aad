"""The bounds that the APIExport sets on kcp: they leave each worker what its work takes, and let nobody else decide."""

from typing import Any

import pytest

from services.cli.hub.kcp import workers
from shared.api import GROUP
from shared.api.generate.admission import WRITERS
from shared.api.generate.rights import CONSUMERS, rights

Document = dict[str, Any]
RIGHTS = rights()
ROLES = {each["metadata"]["name"]: each["rules"] for each in RIGHTS if each["kind"] == "ClusterRole"}


def rules_of(*groups: str) -> list[Document]:
    """What the bounds allow who is in these groups."""
    names = {f"{CONSUMERS}{group}" for group in ("system:authenticated", *groups)}
    return [
        rule
        for each in RIGHTS
        if each["kind"] == "ClusterRoleBinding" and names & {subject["name"] for subject in each["subjects"]}
        for rule in ROLES[each["roleRef"]["name"]]
    ]


def allows(rules: list[Document], verb: str, resource: str) -> bool:
    return any({verb, "*"} & set(rule["verbs"]) and {resource, "*"} & set(rule["resources"]) for rule in rules)


def test_what_a_worker_may_do_in_a_workspace_is_within_the_bounds() -> None:
    granted = {each["metadata"]["name"]: each.get("rules", ()) for each in workers() if each["kind"] == "ClusterRole"}
    checked = 0
    for each in workers():
        for subject in each.get("subjects", ()):
            rules = rules_of(subject["name"])
            for rule in granted[each["roleRef"]["name"]]:
                if GROUP in rule.get("apiGroups", ()):
                    beyond = [
                        (subject["name"], verb, resource)
                        for verb in rule["verbs"]
                        for resource in rule["resources"]
                        if not allows(rules, verb, resource)
                    ]
                    assert beyond == []
                    checked += 1
    assert checked > 10


@pytest.mark.parametrize("resource", WRITERS)
def test_nobody_but_its_worker_and_operators_writes_what_moorage_writes(resource: str) -> None:
    for verb in ("create", "update", "patch"):
        assert not allows(rules_of(), verb, resource)
        assert allows(rules_of(f"moorage:{WRITERS[resource]}"), verb, resource)
        assert allows(rules_of("system:kcp:admin"), verb, resource)
        others = {f"moorage:{worker}" for worker in WRITERS.values()} - {f"moorage:{WRITERS[resource]}"}
        assert not allows(rules_of(*others), verb, resource)


def test_workers_are_known_by_their_groups_alone() -> None:
    subjects = [subject for each in workers() for subject in each.get("subjects", ())]
    assert {subject["kind"] for subject in subjects} == {"Group"}
    assert all(subject["name"].startswith("moorage:") for subject in subjects)


def test_status_alone_may_tell_on_workloads_how_they_are_and_nothing_else_of_them() -> None:
    roles = {each["metadata"]["name"]: each.get("rules", ()) for each in workers() if each["kind"] == "ClusterRole"}
    told = {
        (subject["name"], resource, verb)
        for each in workers()
        for subject in each.get("subjects", ())
        for rule in roles[each["roleRef"]["name"]]
        if {"apps", "batch"} & set(rule.get("apiGroups", ()))
        for resource in rule["resources"]
        for verb in set(rule["verbs"]) - {"get", "list", "watch"}
    }
    workloads = ("daemonsets", "deployments", "statefulsets", "jobs")
    assert told == {("moorage:status", f"{each}/status", "patch") for each in workloads}
