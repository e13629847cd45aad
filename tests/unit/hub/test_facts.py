"""Facts by which a placement may have to leave a target: which there are, and how they are told apart."""

from typing import Any

import pytest

from services.policy.language.variables import TARGET
from shared.api import Affinity, AffinityTerm, LabelSelector, Taint
from shared.api.affinity import AffinityTier
from shared.api.selectors import AffinityRequirement
from shared.hub.facts import FACTS, affinity_facts, all_facts, deciding, facts_digest, selector_facts
from shared.model.target import ApiKind, Target

IDENTITY = {"id", "name", "workspace"}
LOAD = {"allocated", "available", "latency", "ready", "scores", "usage"}

T = Target(workspace="root:p", name="t", labels={"region": "eu", "a": "1"}, capacity={"cpu": 4.0, "memory": 1.0})


def changed(**fields: Any) -> Target:
    return Target(**{**{name: getattr(T, name) for name in T.__struct_fields__}, **fields})


def test_each_field_that_rules_read_is_a_fact_or_there_is_a_reason() -> None:
    assert set(FACTS) | IDENTITY | LOAD == set(TARGET)


@pytest.mark.parametrize(
    ("facts", "other", "same"),
    [
        ({"labels.region"}, {"labels": {"region": "us", "a": "1"}}, False),
        ({"labels.region"}, {"labels": {"a": "1"}}, False),
        ({"labels.region"}, {"labels": {"region": "eu", "a": "2", "b": "3"}}, True),
        ({"labels"}, {"labels": {"region": "eu", "a": "2"}}, False),
        ({"taints"}, {"taints": (Taint(key="x", effect="NoSchedule"),)}, False),
        ({"kubernetesVersion"}, {"kubernetes_version": "v1.37.0"}, False),
        ({"apis"}, {"apis": (ApiKind(group="apps", resource="x", kind="X", versions=("v1",)),)}, False),
        ({"capacity.cpu"}, {"capacity": {"cpu": 4.0, "memory": 2.0}}, True),
        ({"capacity.cpu"}, {"capacity": {"cpu": 8.0, "memory": 1.0}}, False),
        ({"capacity.cpu"}, {"usage": {"cpu": 3.0}, "allocated": {"cpu": 3.0}, "latency": {"x": 1.0}}, True),
        ({"cost"}, {"cost_per_cpu_hour": 0.1}, False),
        ({"of.a.later.version"}, {"labels": {}}, True),
    ],
)
def test_a_digest_is_another_where_one_of_its_facts_is(facts: set[str], other: dict[str, Any], same: bool) -> None:
    assert (facts_digest(T, facts) == facts_digest(changed(**other), facts)) is same


def test_without_facts_there_is_no_digest() -> None:
    assert facts_digest(T, ()) == ""


def test_all_facts_change_with_any_of_them_and_with_no_load() -> None:
    assert all_facts(changed(labels={})) != all_facts(T)
    assert all_facts(changed(usage={"cpu": 1.0}, ready=True, lost_since=1.0)) == all_facts(T)


def test_what_rules_and_terms_read_is_said_in_the_same_words() -> None:
    assert deciding({("labels", "region"), ("usage", "cpu"), ("nodes",), ("id",)}) == {"labels.region", "nodes"}
    assert deciding(None) == set(FACTS)
    assert selector_facts(LabelSelector(match_labels={"zone": "a"})) == {"labels.zone"}
    assert selector_facts(None) == set()
    term = AffinityTerm(match_expressions=(AffinityRequirement(key="gpu", operator="Exists"),))
    tier = AffinityTerm(match_expressions=(AffinityRequirement(key="tier", operator="Exists"),))
    affinity = Affinity(required=(term,), tiers=(AffinityTier(name="first", required=(tier,)),))
    assert affinity_facts(affinity) == {"labels.gpu", "labels.tier"}
