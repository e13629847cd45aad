"""Which of several SyncTargets holds a cluster."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.discovery.clusters import DUPLICATE, UNIDENTIFIED, Clusters
from shared.model.target import Target

PATIENCE = 60.0


class Stored:
    """An inventory that holds what is wanted at once."""

    def __init__(self) -> None:
        self.entries: dict[str, Target] = {}

    def latest(self, key: str) -> Target | None:
        return self.entries.get(key)


class Copy:
    """One copy of the worker, which judges and writes."""

    def __init__(self, stored: Stored) -> None:
        self.stored = stored
        self.now = 1000.0
        self.clusters = Clusters(stored, lambda: self.now, PATIENCE)  # type: ignore[arg-type]  # all that it reads

    def look(self, name: str, cluster: str = "x", *, created: float = 0.0, claimed: str = "", **more: Any) -> Target:
        previous = self.stored.entries.get(name)
        base = previous or Target(workspace="w", name=name, created=created, **more)
        changed = base.cluster not in ("", cluster)
        seen = msgspec.structs.replace(base, ready=True, reason="", cluster=cluster)
        if changed:
            seen = msgspec.structs.replace(seen, duplicate=False)
        return self.put(name, self.clusters.judged(seen, previous, claimed))

    def put(self, name: str, target: Target | None) -> Any:
        if target is None:
            del self.stored.entries[name]
        else:
            self.stored.entries[name] = target
        self.clusters.note(name)
        return target


@pytest.fixture
def copy() -> Copy:
    return Copy(Stored())


def test_the_first_holds_and_the_second_is_refused_however_old_it_is(copy):
    assert copy.look("a", created=500.0).ready
    second = copy.look("b", created=1.0)
    assert (second.ready, second.duplicate, second.reason) == (False, True, DUPLICATE)
    assert copy.clusters.holder(second).name == "a"
    assert copy.look("a").ready
    assert copy.look("c", cluster="y").ready


def test_when_the_holder_is_gone_the_oldest_of_the_others_takes_over_after_a_while(copy):
    copy.look("a")
    for name, created in (("b", 30.0), ("c", 20.0)):
        copy.look(name, created=created)
    copy.put("a", None)
    assert not copy.look("c").ready
    copy.now += PATIENCE - 1
    assert not copy.look("c").ready
    copy.now += 2
    assert not copy.look("b").ready
    assert copy.look("c").ready
    copy.now += 10 * PATIENCE
    assert not copy.look("b").ready
    assert copy.look("d", created=1.0).duplicate


def test_who_takes_over_does_so_however_often_it_was_judged_before_that_was_stored(copy):
    copy.look("a")
    waiting = copy.look("b")
    copy.put("a", None)
    copy.clusters.judged(waiting, waiting)
    copy.now += PATIENCE + 1
    for _ in range(3):  # a look judges before it asks the cluster, and after
        assert not copy.clusters.judged(waiting, waiting).duplicate
    assert copy.look("b").ready
    assert copy.look("c").duplicate


def test_who_offers_another_cluster_by_now_leaves_the_first_one_free_and_takes_nothing_from_others(copy):
    copy.look("a", cluster="x")
    copy.look("b", cluster="y", created=1.0)
    assert copy.look("a", cluster="y").duplicate
    assert copy.look("b", cluster="y").ready
    assert copy.look("c", cluster="x").ready


def test_of_two_that_two_copies_recorded_at_once_the_older_stays():
    stored = Stored()
    one, other = Copy(stored), Copy(stored)
    one.look("young", created=2.0)
    other.look("old", created=1.0)  # this copy has not seen the other entry yet
    one.clusters.note("old")
    other.clusters.note("young")
    assert one.clusters.contested(stored.entries["young"])
    assert one.look("young").duplicate
    assert other.look("old").ready
    assert not one.clusters.contested(stored.entries["old"])


def test_after_the_inventory_was_emptied_who_was_refused_before_waits_for_who_was_not(copy):
    assert not copy.look("b", created=1.0, duplicate=True).ready  # as its status on the hub says
    assert copy.look("a", created=2.0, claimed="x").ready
    assert not copy.look("b").ready


def test_after_the_inventory_was_emptied_the_older_wins_whoever_is_looked_at_first(copy):
    assert copy.look("b", created=2.0, claimed="x").ready
    assert copy.look("a", created=1.0, claimed="x").ready
    assert copy.look("b").duplicate


def test_a_claim_in_a_status_takes_nothing_from_who_holds(copy):
    copy.look("a", created=2.0)
    assert copy.look("b", created=3.0, claimed="x").duplicate


def test_a_cluster_that_is_not_known_is_not_ready(copy):
    found = copy.look("a", cluster="")
    assert (found.ready, found.reason) == (False, UNIDENTIFIED)
    assert not copy.look("b", cluster="").duplicate


def test_an_entry_of_a_version_that_did_not_ask_stays_ready_until_it_is_known(copy):
    copy.put("a", Target(workspace="w", name="a", ready=True))
    assert copy.look("a", cluster="").ready
    assert copy.look("a").ready


ACTIONS = st.tuples(st.sampled_from("abcd"), st.sampled_from(["x", "y", "gone", "later"]), st.booleans())


@given(st.lists(ACTIONS, max_size=40), st.permutations("abcd"))
def test_never_are_two_ready_for_one_cluster_and_one_is_in_the_end(actions, ages):
    copies = [Copy(stored := Stored()), Copy(stored)]
    for name, what, which in actions:
        copy = copies[which]
        if what == "later":
            for each in copies:
                each.now += PATIENCE / 2
        elif what != "gone":
            copy.look(name, cluster=what, created=float(ages.index(name)))
        elif name in stored.entries:
            copy.put(name, None)
        for each in copies:
            each.clusters.note(name)
        holders = [each.cluster for each in stored.entries.values() if each.ready]
        assert len(holders) == len(set(holders))
    for _ in range(4):
        for each in copies:
            each.now += PATIENCE
            for name, entry in list(stored.entries.items()):
                each.look(name, cluster=entry.cluster)
                for other in copies:
                    other.clusters.note(name)
    assert {each.cluster for each in stored.entries.values() if each.ready} == {
        each.cluster for each in stored.entries.values()
    }
