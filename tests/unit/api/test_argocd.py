"""The example for Argo CD: what its generator would make of a decision, by the example's own configuration."""

import yaml

from shared.api import PlacementDecisionStatus, ScoredTarget, TargetReference, decode_placement, to_dict
from shared.api.decision import PlacementDecision
from shared.api.generate.__main__ import ROOT
from shared.api.resources import RESOURCES
from shared.hub.names import DECISION_KEY_LABEL
from shared.hub.slices import sliced

OBJECTS = {
    (each["kind"], each["metadata"]["name"]): each
    for each in yaml.safe_load_all((ROOT / "examples/argocd/guestbook.yaml").read_text())
}
READS = OBJECTS["ConfigMap", "moorage-placement"]["data"]
GENERATOR = OBJECTS["ApplicationSet", "guestbook"]["spec"]["generators"][0]["clusterDecisionResource"]


def parameters(status, clusters):
    """As Argo CD's generator does: by the list and the key that its ConfigMap names, for clusters that it knows."""
    return [each for each in status[READS["statusListKey"]] if each[READS["matchKey"]] in clusters]


def test_argo_cd_finds_the_clusters_that_were_chosen_and_each_value_is_text():
    selected = tuple(
        ScoredTarget(target=TargetReference(workspace="root:p", name=name), replicas=2, score=71.5, reason="near")
        for name in ("eu-1", "eu-2")
    )
    (status,) = sliced(PlacementDecisionStatus(attempt=1, selected=selected), "u")
    found = parameters(to_dict(PlacementDecision(status=status))["status"], {"eu-2", "us-1"})
    assert [each["clusterName"] for each in found] == ["eu-2"]
    assert all(isinstance(value, str) for value in found[0].values())


def test_the_template_uses_no_parameter_that_an_entry_lacks():
    (status,) = sliced(PlacementDecisionStatus(selected=(ScoredTarget(target=TargetReference(name="a")),)), "u")
    (entry,) = to_dict(PlacementDecision(status=status))["status"]["decisions"]
    text = yaml.safe_dump(OBJECTS["ApplicationSet", "guestbook"]["spec"]["template"])
    used = {part.partition("}}")[0] for part in text.split("{{")[1:]}
    assert used <= {*entry, "name", "server"}


def test_the_example_names_our_kind_and_the_label_of_its_placement():
    (decisions,) = (each for each in RESOURCES if each.plural == READS["kind"])
    assert READS["apiVersion"] == decode_placement(OBJECTS["Placement", "guestbook"]).api_version
    assert decisions.scope == "Namespaced"
    assert GENERATOR["configMapRef"] == "moorage-placement"
    assert GENERATOR["labelSelector"]["matchLabels"] == {DECISION_KEY_LABEL: "guestbook"}
