"""What is placed in each target, by the reports."""

from hypothesis import given
from hypothesis import strategies as st

from services.status.placed import Placed
from shared.model.refs import Head, PlacementRef
from shared.model.report import ObjectHealth, TargetReport

KEYS = st.sampled_from(["a", "b", "c"])
KINDS = st.sampled_from(["v1 ConfigMap", "apps/v1 Deployment", "batch/v1 Job"])


@st.composite
def reports(draw: st.DrawFn) -> TargetReport:
    objects = [ObjectHealth(ref=f"{kind} ns/x", health="Healthy") for kind in draw(st.lists(KINDS, max_size=3))]
    return TargetReport(
        placement=PlacementRef(workspace="root", namespace="ns", name="x"),
        head=Head(uid="1", generation=1, attempt=1),
        target=draw(st.sampled_from(["root/one", "root/two"])),
        phase="Applied",
        objects=tuple(objects),
    )


@given(st.lists(st.tuples(KEYS, st.none() | reports()), max_size=20))
def test_kinds_and_reports_of_a_target_are_those_that_are_there_in_any_order_of_changes(changes):
    placed, there = Placed(), dict[str, TargetReport]()
    for key, report in changes:
        if report is None:
            assert placed.drop(key) == there.pop(key, None)
        else:
            placed.put(key, report)
            there[key] = report
    assert set(placed.targets) == {each.target for each in there.values()}
    for target in ("root/one", "root/two"):
        mine = {key: each for key, each in there.items() if each.target == target}
        assert dict(zip(placed.keys(target), placed.reports(target), strict=True)) == mine
        kinds = {tuple(each.ref.split(" ")[:2]) for report in mine.values() for each in report.objects}
        assert placed.kinds(target) == kinds
    assert all(placed.target_of(key) == report.target for key, report in there.items())
