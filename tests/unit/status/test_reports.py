"""Reports are written by compare-and-set, whoever else writes them."""

import asyncio
from typing import Any

import msgspec
import pytest

from services.status.reports import GONE, NOT_SEEN, Reports, believable, merged, news, observed, parse_ref, passes
from shared.broker.memory.store import MemoryStore
from shared.broker.store import Conflict
from shared.broker.table import Entry, Table
from shared.model.refs import Head, PlacementRef
from shared.model.report import ObjectHealth, TargetReport
from shared.pipeline.buckets import REPORTS
from shared.pipeline.messages import Bound, Reported

REF = PlacementRef(workspace="root:team", namespace="shop", name="web.1")
EAST = "root:platform/east"
HEAD = Head(uid="u", generation=1, attempt=1)
OBJECT = "apps/v1 Deployment shop/web"


def report(*objects: ObjectHealth, phase: str = "Applied") -> TargetReport:
    return TargetReport(placement=REF, head=HEAD, target=EAST, phase=phase, objects=objects)


def seen(health: Any) -> ObjectHealth:
    return ObjectHealth(ref=OBJECT, health=health)


async def written(table: Table[TargetReport], report: TargetReport) -> Entry[TargetReport]:
    """A report on record, as the first that is."""
    key = report.placement.key_in(report.target)
    return Entry(key, report, await table.update(key, report, 0))


@pytest.fixture
def table() -> Table[TargetReport]:
    return Table(MemoryStore(), REPORTS)


async def test_an_observation_changes_what_changed_alone(table: Table[TargetReport]) -> None:
    reports = Reports(table, table.follow())
    first = await written(table, report(seen("Healthy")))
    assert await reports.observe(REF, EAST, lambda known: known, 7.0) == (first, False)
    entry, changed = await reports.observe(REF, EAST, lambda _: seen("Degraded"), 8.0)
    assert entry is not None
    assert changed
    assert (entry.value.objects, entry.value.observed_at) == ((seen("Degraded"),), 8.0)
    assert news(entry, "-lost").fact != news(first, "-lost").fact
    assert news(entry, "-lost").fact != news(entry, "-found").fact


def test_what_is_observed_goes_to_the_copy_of_binding_that_applied_it() -> None:
    applied = msgspec.structs.replace(report(seen("Healthy")), block=2)
    assert observed(Entry("key", applied, 7)).block == 2


async def test_what_is_told_of_a_target_is_told_once_and_anew_when_it_changes(table: Table[TargetReport]) -> None:
    reports = Reports(table, table.follow())
    first = await written(table, report(seen("Healthy")))
    gone = ObjectHealth(ref=OBJECT, health="Unhealthy", message=GONE)
    entry, _ = await reports.observe(REF, EAST, lambda _: gone, 8.0)
    assert entry is not None
    message = observed(entry)
    assert (message.about, message.at, message.target, message.objects) == (REF, HEAD, EAST, (gone,))
    assert (message.missing, message.revision) == ((OBJECT,), entry.revision)
    assert observed(first).missing == ()
    ids = [each.id() for each in (observed(first), message, observed(entry))]
    assert ids[1] == ids[2]
    assert len(set(ids)) == 2
    assert message.key() == (*Reported(placement=REF, head=HEAD, fact="").key(), EAST)


async def test_what_is_not_reported_is_not_observed(table: Table[TargetReport]) -> None:
    assert await Reports(table, table.follow()).observe(REF, EAST, lambda known: known, 1.0) == (None, False)


async def test_observers_at_once_agree(table: Table[TargetReport]) -> None:
    reports = [Reports(table, table.follow()) for _ in range(4)]
    await written(table, report(seen("Progressing")))
    results = await asyncio.gather(*(each.observe(REF, EAST, lambda _: seen("Healthy"), 1.0) for each in reports))
    assert sum(changed for _, changed in results) == 1


class Meddling(Table[TargetReport]):
    """Another worker writes after every read of this one."""

    async def get(self, key: str) -> Any:
        entry = await super().get(key)
        if entry is not None:
            await super().put(key, msgspec.structs.replace(entry.value, observed_at=entry.value.observed_at + 1))
        return entry


async def test_a_report_that_never_rests_is_given_up_for_now() -> None:
    table = Meddling(MemoryStore(), REPORTS)
    reports = Reports(table, table.follow())
    await written(table, report(seen("Progressing")))
    with pytest.raises(Conflict):
        await reports.observe(REF, EAST, lambda _: seen("Healthy"), 1.0)


async def test_forgetting_a_placement_keeps_others_whose_names_begin_alike(table: Table[TargetReport]) -> None:
    reports = Reports(table, table.follow())
    other = PlacementRef(workspace="root:team", namespace="shop", name="web")
    await written(table, report())
    await written(table, msgspec.structs.replace(report(), placement=other))
    await reports.forget(REF)
    assert await reports.of(REF) == []
    assert [each.placement for each in await reports.of(other)] == [other]


class Counting(Table[TargetReport]):
    """Counts what is read."""

    reads = 0

    async def get(self, key: str) -> Any:
        self.reads += 1
        return await super().get(key)


async def change_to(reports: Reports, new: TargetReport | None) -> tuple[Entry[TargetReport] | None, bool]:
    async def change(_: TargetReport | None) -> TargetReport | None:
        return new

    return await reports.change(REF, EAST, change, tries=3)


async def test_what_is_written_here_is_known_at_once_and_need_not_be_read_to_be_written_again() -> None:
    table = Counting(MemoryStore(), REPORTS)
    reports = Reports(table, table.follow())  # which nobody runs: it stays behind for ever
    first, _ = await change_to(reports, report(seen("Progressing")))
    second, _ = await change_to(reports, report(seen("Healthy")))
    assert first is not None
    assert second is not None
    assert (reports.get(second.key), reports.known(REF), table.reads) == (second, [second.value], 0)
    assert [reports.knows(REF, EAST, each.revision) for each in (first, second)] == [True, True]
    assert not reports.knows(REF, EAST, second.revision + 1)


async def test_what_another_wrote_meanwhile_is_found_out_and_counts() -> None:
    table = Counting(MemoryStore(), REPORTS)
    reports, others = (Reports(table, table.follow()) for _ in range(2))
    await change_to(others, report(seen("Healthy")))
    mine, changed = await change_to(reports, report(seen("Degraded")))
    assert (mine is not None, changed, table.reads) == (True, True, 1)
    again, changed = await change_to(others, report(seen("Healthy")))  # as it remembers it: so it is read
    assert (again is not None, changed) == (True, True)


async def test_what_was_deleted_here_is_gone_before_the_view_says_so(table: Table[TargetReport]) -> None:
    view = table.follow()
    first = await written(table, report(seen("Healthy")))
    view.entries[first.key] = first
    view.revision = first.revision
    reports = Reports(table, view)
    reports.note(first.key)
    assert reports.known(REF) == [first.value]
    assert await change_to(reports, None) == (None, True)
    assert (reports.get(first.key), reports.known(REF)) == (None, [])
    second = await written(table, report(seen("Healthy")))
    view.entries[first.key] = second
    reports.note(first.key)
    assert reports.known(REF) == [second.value]


async def test_what_the_view_is_past_counts_more_than_what_was_written_here(table: Table[TargetReport]) -> None:
    view = table.follow()
    reports = Reports(table, view)
    first, _ = await change_to(reports, report(seen("Healthy")))
    assert first is not None
    view.revision = first.revision  # and it has no such entry: somebody emptied the bucket
    assert reports.get(first.key) is None


@pytest.mark.parametrize(
    ("report", "passing"),
    [
        (report(seen("Progressing")), True),
        (report(seen("Healthy"), seen("Unknown")), True),
        (report(seen("Healthy"), seen("Degraded")), False),
        (report(), False),
        (report(seen("Progressing"), phase="Failed"), False),
    ],
)
def test_what_is_on_its_way_passes(report: TargetReport, passing: bool) -> None:
    assert passes(report) is passing


def test_known_health_stays_with_the_objects_that_stay() -> None:
    refs = [ObjectHealth(ref=each, health="Unknown") for each in (OBJECT, "apps/v1 Deployment shop/api")]
    found = merged(refs, [seen("Healthy"), ObjectHealth(ref="v1 Secret shop/gone", health="Healthy")])
    assert found == (
        seen("Healthy"),
        ObjectHealth(ref="apps/v1 Deployment shop/api", health="Unknown", message=NOT_SEEN),
    )
    assert parse_ref(OBJECT) == ("apps/v1", "Deployment", "shop", "web")


def bound(version: str = "7", phase: str = "Applied", head: Head = HEAD, **more: Any) -> Bound:
    return Bound(placement=REF, head=head, target=EAST, phase=phase, version=version, **more)


@pytest.mark.parametrize(
    ("message", "known", "newest", "believed"),
    [
        (bound(), None, HEAD, "yes"),
        (bound(), None, None, "ask"),
        (bound(), None, Head(uid="u", generation=1, attempt=2), "ask"),
        (bound(head=Head(uid="v", generation=1, attempt=1)), None, HEAD, "ask"),
        (bound(version=""), None, HEAD, "ask"),
        (bound("7"), "7", None, "yes"),
        (bound("10"), "9", None, "yes"),
        (bound("9"), "10", HEAD, "no"),
        (bound("9", phase="Removed"), "10", HEAD, "no"),
        (bound("9", head=Head(uid="u", generation=1, attempt=2)), "10", HEAD, "ask"),
        (bound("v9"), "10", HEAD, "ask"),
        (bound("9"), "", HEAD, "ask"),
        (bound("9", vanished=True), "10", None, "yes"),
    ],
)
def test_news_of_a_binding_is_believed_if_it_is_newer_and_asked_about_where_it_may_be_late(
    message: Bound, known: str | None, newest: Head | None, believed: str
) -> None:
    before = None if known is None else msgspec.structs.replace(report(seen("Healthy")), version=known)
    assert believable(message, before, newest) == believed
