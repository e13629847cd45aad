"""What has to be gone before something that may not run twice starts in a target."""

from typing import Any

import pytest

from services.binding.vacating import in_the_way
from shared.api import PlacementBinding, decode_binding, decode_decision
from shared.model.refs import TargetRef

PLATFORM = "root:platform"
NEW = f"{PLATFORM}/new"
JOB = {"apiVersion": "batch/v1", "kind": "Job", "name": "nightly", "namespace": "shop"}


def binding(target: str, uid: str = "u", objects: tuple[dict[str, Any], ...] = ()) -> PlacementBinding:
    spec = {"placementRef": {"name": "db", "uid": uid}, "target": {"workspace": PLATFORM, "name": target}}
    return decode_binding({"metadata": {"name": target}, "spec": spec, "status": {"objects": list(objects)}})


def ran(ended: str = "") -> dict[str, Any]:
    return {"ref": JOB, "uid": "1", "hash": "h", "ended": ended}


@pytest.mark.parametrize(
    ("selected", "bindings", "expected"),
    [
        (("new",), [], []),
        (("new",), [binding("new")], []),
        (("new",), [binding("old"), binding("older")], ["old", "older"]),
        (("new", "old"), [binding("old")], []),
        (("new",), [binding("old", uid="former")], ["old"]),
        (("new",), [binding("old", objects=(ran(),))], ["old"]),
        (("new",), [binding("old", objects=(ran("Succeeded"),))], []),
        (("new",), [binding("old", objects=(ran("Succeeded"), {**ran(), "ref": {**JOB, "name": "other"}}))], ["old"]),
    ],
)
def test_all_that_is_not_selected_is_in_the_way_but_for_what_ended(selected, bindings, expected) -> None:
    chosen = [{"target": {"workspace": PLATFORM, "name": each}} for each in selected]
    decision = decode_decision({"metadata": {"name": "db"}, "status": {"attempt": 2, "selected": chosen}})
    assert [TargetRef.of(each.spec.target).name for each in in_the_way(NEW, decision, bindings)] == expected
