"""`moorage explain` on a hub: what it reads there, and what it says when it may not."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.cli.hub.connection import DENIED, UNKNOWN
from shared.hub.names import slice_name
from shared.hub.resources import DECISIONS
from tests.support.manifests import obj
from tests.support.process import BIN, process
from tests.support.scene import Scene


async def explain(scene: Scene, *argv: str) -> tuple[int, str]:
    """Exit code and all that it prints, as the hub's administrator in the team's workspace."""
    kubeconfig = str(scene.ready.kubeconfigs["admin"])
    given = ("--kubeconfig", kubeconfig, "--workspace", scene.home)
    async with process([str(BIN / "moorage"), "explain", *argv, *given], dict(os.environ)) as running:
        return await running.ends(), running.output


async def test_a_placement_of_the_hub_is_explained_by_its_decision(scene: Scene) -> None:
    ref = await scene.place("web")
    await scene.decide(ref, "east")
    code, out = await explain(scene, "web", "-n", "shop", "-o", "json")
    found: dict[str, Any] = json.loads(out)
    assert (code, found["outcome"]) == (0, "Placed")
    assert [each["target"] for each in found["selected"]] == [f"{scene.provider}/east"]


async def test_all_placements_are_a_line_each_and_one_undecided_is_exit_code_1(scene: Scene) -> None:
    await scene.decide(await scene.place("web"), "east", "west")
    await scene.place("later")
    code, out = await explain(scene, "-A")
    assert code == 1
    header, later, web = out.splitlines()
    assert header.split() == ["NAMESPACE", "NAME", "OUTCOME", "TARGETS", "WHY"]
    assert later.split()[:3] == ["shop", "later", "Undecided"]
    assert web.split()[:5] == ["shop", "web", "Placed", "east,", "west"]


async def test_a_decision_for_another_object_of_that_name_explains_nothing(scene: Scene) -> None:
    ref = await scene.place("web")
    await scene.decide(ref, "east")
    owner = {"apiVersion": DECISIONS.api_version, "kind": "Placement", "name": "web", "uid": "of-the-former"}
    await scene.team.merge_patch(DECISIONS, "web", {"metadata": {"ownerReferences": [owner]}}, "shop")
    code, out = await explain(scene, "shop/web")
    assert code == 1
    assert "Undecided" in out


async def test_a_decision_in_slices_is_read_as_a_whole(scene: Scene) -> None:
    ref = await scene.place("web")
    await scene.decide(ref, "east")
    name, labels = slice_name("web", "r1", 1), {"multicluster.x-k8s.io/decision-key": "web"}
    further = {"selected": [{"target": {"workspace": scene.provider, "name": "west"}}], "revision": "r1"}
    made = obj("PlacementDecision", DECISIONS.api_version, name=name, namespace="shop", status=further)
    made["metadata"]["labels"] = {**labels, "multicluster.x-k8s.io/decision-index": "1"}
    await scene.team.create(DECISIONS, made)
    first = {"metadata": {"labels": labels}, "status": {"revision": "r1", "slices": 2}}
    await scene.team.merge_patch(DECISIONS, "web", first, "shop")
    _, out = await explain(scene, "web", "-n", "shop", "-o", "json")
    assert [each["target"].rpartition("/")[2] for each in json.loads(out)["selected"]] == ["east", "west"]


async def test_a_placement_that_is_not_there_is_one_line(scene: Scene) -> None:
    code, out = await explain(scene, "nobody", "-n", "shop")
    assert (code, out) == (1, "moorage: there is no Placement nobody in the namespace shop")


@pytest.mark.parametrize(("workspace", "why"), [("root:nowhere", UNKNOWN), ("", DENIED), ("nosuchid", DENIED)])
async def test_a_workspace_that_is_not_there_or_not_to_be_entered_is_one_line_with_what_to_do(
    scene: Scene, tmp_path: Path, workspace: str, why: str
) -> None:
    kubeconfig = tmp_path / "mallory.kubeconfig"
    token = scene.ready.sandbox.add_user("mallory")
    content = yaml.safe_load(scene.ready.kubeconfigs["admin"].read_text())
    content["users"][0]["user"] = {"token": token}
    kubeconfig.write_text(yaml.safe_dump(content))
    asked = ("web", "-n", "shop", "--workspace", workspace or scene.home, "--kubeconfig", str(kubeconfig))
    async with process([str(BIN / "moorage"), "explain", *asked], dict(os.environ)) as running:
        assert await running.ends() == 1
        (line,) = running.lines
        assert line.endswith(why)
        assert token not in line
