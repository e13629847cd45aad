"""`moorage quota`: how much of each quota is reserved, by target and in all."""

from services.cli.diagnosing.quotas import QuotaRow, bounds, rows, totals
from services.cli.quota import bounding, table
from shared.model.decision import Reservation
from shared.model.quota import WorkspaceQuota
from shared.model.refs import Head, PlacementRef
from shared.model.resources import Resources
from shared.model.target import Target

HARD: Resources = {"cpu": 4.0, "memory": 8.0 * 2**30}
TARGETS = [
    Target(workspace="root:p", name="east", quotas={"root:team": HARD, "root": {"cpu": 10.0}}),
    Target(workspace="root:p", name="west", quotas={"root:team": {"cpu": 2.0}, "root:other": {"cpu": 1.0}}),
    Target(workspace="root:p", name="north"),
]


def reserved(workspace: str, cpu: float, memory: float = 0.0) -> Reservation:
    ref = PlacementRef(workspace=workspace, namespace="shop", name=f"web-{cpu}")
    return Reservation(
        placement=ref, head=Head(uid="u", generation=1, attempt=1), resources={"cpu": cpu, "memory": memory}
    )


RESERVATIONS = {
    "root:p/east": [reserved("root:team", 1.0, 2.0**30), reserved("root:team:a", 2.0), reserved("root:other", 5.0)],
    "root:p/west": [reserved("root:team", 3.0)],
    "root:p/north": [reserved("root:team", 100.0)],
}


def row(workspace: str, target: str, resource: str, used: float, hard: float) -> QuotaRow:
    return QuotaRow(workspace=workspace, target=target, resource=resource, used=used, hard=hard)


def test_what_a_workspace_and_all_below_it_reserve_counts_in_targets_that_have_a_quota_for_it() -> None:
    assert rows(TARGETS, RESERVATIONS) == [
        row("root", "root:p/east", "cpu", 8.0, 10.0),
        row("root:other", "root:p/west", "cpu", 0.0, 1.0),
        row("root:team", "root:p/east", "cpu", 3.0, 4.0),
        row("root:team", "root:p/west", "cpu", 3.0, 2.0),
        row("root:team", "root:p/east", "memory", 2.0**30, 8 * 2.0**30),
    ]


def test_of_a_workspace_are_shown_the_quotas_that_it_lies_in() -> None:
    found = rows(TARGETS, RESERVATIONS, "root:team:a")
    assert {each.workspace for each in found} == {"root", "root:team"}
    assert not rows(TARGETS, RESERVATIONS, "elsewhere")


def test_below_several_targets_stands_their_sum_and_what_is_left_may_be_less_than_nothing() -> None:
    found = [each for each in rows(TARGETS, RESERVATIONS) if each.workspace == "root:team"]
    assert totals(found)[0] == row("root:team", "", "cpu", 6.0, 6.0)
    assert table(found, totals(found)) == [
        ["WORKSPACE", "RESOURCE", "TARGET", "USED", "HARD", "FREE"],
        ["root:team", "cpu", "root:p/east", "3", "4", "1"],
        ["root:team", "cpu", "root:p/west", "3", "2", "-1"],
        ["root:team", "cpu", "(all)", "6", "6", "0"],
        ["root:team", "memory", "root:p/east", "1Gi", "8Gi", "7Gi"],
    ]


def test_of_quotas_over_all_clusters_those_are_shown_that_bound_a_workspace_and_how_much_is_charged_to_each() -> None:
    team = WorkspaceQuota(workspace="root", name="team", uid="t", bounds="root:team", hard={"cpu": 4.0})
    shop = WorkspaceQuota(
        workspace="root:team", name="shop", uid="s", bounds="root:team:a", namespace="shop", hard={"placements": 2.0}
    )
    charges = {team.place: [reserved("root:team", 1.0), reserved("root:team:a", 2.5)]}
    assert bounding(bounds([shop, team], charges)) == [
        ["WORKSPACE", "NAMESPACE", "RESOURCE", "QUOTA", "USED", "HARD", "FREE"],
        ["root:team", "(all)", "cpu", "team of root", "3.5", "4", "0.5"],
        ["root:team:a", "shop", "placements", "shop of root:team", "0", "2", "2"],
    ]
    assert [each.quota for each in bounds([shop, team], charges, "root:team")] == ["team of root"]
    assert len(bounds([shop, team], charges, "root:team:a:deep")) == 2
