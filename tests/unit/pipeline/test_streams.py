"""The streams as the operator's settings have them."""

from shared.pipeline import topology
from shared.pipeline.events import EVENTS_STREAM
from shared.process.settings import ProvisionSettings


def test_how_long_how_much_and_for_how_many_readers_events_are_kept_is_the_operators_to_say():
    settings = ProvisionSettings(events_max_age_seconds=3600.0, events_max_bytes=1 << 20, events_max_consumers=7)
    found = next(each for each in topology.streams(settings) if each.name == EVENTS_STREAM)
    assert (found.max_age, found.max_bytes, found.most_consumers, found.unused_consumers) == (3600, 1 << 20, 7, 3600)


def test_events_are_kept_for_seven_days_or_a_gibibyte_and_the_oldest_go_first():
    found = next(each for each in topology.streams() if each.name == EVENTS_STREAM)
    assert (found.max_age, found.max_bytes, found.backlog) == (7 * 86_400, 1 << 30, 0)


def test_no_other_stream_is_for_readers_that_are_not_ours():
    others = [each for each in topology.streams() if each.name != EVENTS_STREAM]
    assert {(each.most_consumers, each.unused_consumers) for each in others} == {(0, 0.0)}
