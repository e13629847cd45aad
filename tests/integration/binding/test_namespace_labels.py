"""Labels of a workspace's namespace, and which of them the namespace in a target gets."""

import pytest

from services.binding.binder import Binder
from shared.kube.resources import NAMESPACES
from tests.integration.binding.places import in_any_target
from tests.support.manifests import condition
from tests.support.scene import TEAM, Scene

ENFORCE = "pod-security.kubernetes.io/enforce"


async def _placed(scene: Scene, binder: Binder, **labels: str) -> tuple[dict[str, str], str]:
    """The labels of the namespace in the target, and what the binding says."""
    await scene.team.merge_patch(NAMESPACES, "shop", {"metadata": {"labels": labels}})
    await scene.workload()
    ref = await scene.place()
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    found, binding = await scene.targets["east"].get(NAMESPACES, "shop"), await scene.binding(ref)
    assert binding is not None
    there: dict[str, str] = found["metadata"].get("labels") or {}
    there.pop("kubernetes.io/metadata.name", None)
    return there, condition(binding["status"], "Applied")["message"]


@in_any_target
async def test_a_namespace_gets_the_labels_that_the_targets_owner_lists_and_a_note_names_the_others(
    scene: Scene, binder: Binder
) -> None:
    await scene.agree(namespace_labels=("istio-injection", "example.com/*"))
    given = {"istio-injection": "enabled", "example.com/team": "shop", "billing": "yes", ENFORCE: "restricted"}
    labels, said = await _placed(scene, binder, **given)
    assert labels == {"istio-injection": "enabled", "example.com/team": "shop", ENFORCE: "restricted"}
    assert said.endswith("The namespace has not got the labels billing: the target's owner does not list them.")


async def test_by_default_it_gets_only_what_takes_rights_away(scene: Scene, binder: Binder) -> None:
    labels, said = await _placed(scene, binder, **{"istio-injection": "enabled", ENFORCE: "restricted"})
    assert labels == {ENFORCE: "restricted"}
    assert "istio-injection" in said


@pytest.mark.parametrize("listed", [(), ("*",), ("p*",), ("pod-security.kubernetes.io",)])
async def test_a_tenant_does_not_loosen_pod_security_unless_the_owner_means_it(
    scene: Scene, binder: Binder, listed: tuple[str, ...]
) -> None:
    await scene.agree(namespace_labels=listed)
    labels, said = await _placed(scene, binder, **{ENFORCE: "privileged", f"{ENFORCE}-version": "v1.20"})
    assert labels == {}
    assert ENFORCE in said


async def test_an_owner_may_mean_it(scene: Scene, binder: Binder) -> None:
    await scene.agree(namespace_labels=("pod-security.kubernetes.io/*",))
    labels, _ = await _placed(scene, binder, **{ENFORCE: "baseline"})
    assert labels == {ENFORCE: "baseline"}


async def test_later_changes_of_labels_do_not_reach_the_target(scene: Scene, binder: Binder) -> None:
    await scene.agree(namespace_labels=("*",))
    assert (await _placed(scene, binder, tier="gold"))[0] == {"tier": "gold"}
    await scene.team.merge_patch(NAMESPACES, "shop", {"metadata": {"labels": {"tier": "platinum"}}})
    await scene.config()
    ref = await scene.place("again", workload=[{"apiVersion": "v1", "kind": "ConfigMap", "name": "settings"}])
    scene.ahead = 100.0  # whose the namespace is, is asked anew
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    found = await scene.targets["east"].get(NAMESPACES, "shop")
    assert found["metadata"]["labels"]["tier"] == "gold"


async def test_a_namespace_that_is_there_is_left_as_it_is(scene: Scene, binder: Binder) -> None:
    await scene.agree(namespace_labels=("*",))
    await scene.claim(TEAM)
    labels, said = await _placed(scene, binder, tier="gold")
    assert labels == {}
    assert "labels" not in said
