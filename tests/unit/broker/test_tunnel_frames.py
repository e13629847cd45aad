"""What the two ends of a stream tell each other, as arithmetic."""

import random
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.broker.tunnel.frames import (
    CHUNK,
    MOST_WINDOW,
    WINDOW,
    Broken,
    Frame,
    FrameKind,
    Incoming,
    Outgoing,
    frame,
    grant,
    reason_of,
)
from shared.broker.tunnel.subjects import is_tunnel_id, tunnel_id

STREAM = b"12345678"


@given(
    st.sampled_from(FrameKind), st.binary(min_size=8, max_size=8), st.integers(0, 2**32 - 1), st.binary(max_size=100)
)
def test_a_frame_says_what_was_put_into_it(kind, stream, number, body):
    if kind is FrameKind.GRANT:
        body = body[:4].ljust(4, b"\0")
    found = Frame(kind, stream, number, body)
    assert frame(found.encoded()) == found


@given(st.binary(max_size=200))
def test_garbage_is_no_frame_or_one_that_can_be_looked_at(payload):
    found = frame(payload)
    assert found is None or (found.encoded() == payload and reason_of(found).isprintable())


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x01",
        Frame(FrameKind.DATA, STREAM, 0, bytes(CHUNK + 1)).encoded(),
        Frame(FrameKind.GRANT, STREAM, 0, b"123").encoded(),
        b"\x09" + Frame(FrameKind.DATA, STREAM, 0).encoded()[1:],
    ],
)
def test_what_is_too_short_too_long_or_of_no_kind_is_no_frame(payload):
    assert frame(payload) is None


@given(
    st.integers(1, 500),
    st.lists(st.integers(1, 300), max_size=40),
    st.integers(0, 2**32),
)
def test_whatever_the_order_in_which_the_ends_act_all_bytes_arrive_and_no_more_wait_than_the_window(
    window, sizes, seed
):
    chance = random.Random(seed)
    sending, taking = Outgoing(STREAM), Incoming(window)
    sending.granted(window)
    wire: deque[Frame] = deque()
    grants: deque[int] = deque()
    due, waiting, arrived = deque(sizes), deque[int](), 0
    while due or wire or waiting or grants:
        steps = []
        if due and sending.room:
            steps.append("send")
        if wire:
            steps.append("carry")
        if waiting:
            steps.append("pass on")
        if grants:
            steps.append("grant")
        assert steps, "nobody can do anything, and not all has arrived"
        match chance.choice(steps):
            case "send":
                size = due.popleft()
                part = min(size, sending.room)
                if size > part:
                    due.appendleft(size - part)
                wire.append(sending.frame(FrameKind.DATA, bytes(part)))
            case "carry":
                found = wire.popleft()
                taking.arrived(found)
                waiting.append(len(found.body))
                assert sum(waiting) <= window
            case "pass on":
                size = waiting.popleft()
                arrived += size
                if more := taking.passed_on(size):
                    grants.append(more)
            case "grant":
                sending.granted(grants.popleft())
    assert arrived == sum(sizes)


@given(st.integers(2, 20), st.data())
def test_a_frame_that_is_lost_or_comes_twice_or_too_early_breaks_the_stream(many, data):
    sending, taking = Outgoing(STREAM), Incoming()
    sending.granted(WINDOW)
    frames = [sending.frame(FrameKind.DATA, b"x") for _ in range(many)]
    at = data.draw(st.integers(0, many - 2))
    match data.draw(st.sampled_from(["lost", "twice", "swapped"])):
        case "lost":
            del frames[at]
        case "twice":
            frames.insert(at, frames[at])
        case "swapped":
            frames[at], frames[at + 1] = frames[at + 1], frames[at]
    with pytest.raises(Broken):
        deque(map(taking.arrived, frames))


def test_more_bytes_than_were_granted_break_the_stream():
    taking = Incoming(window=10)
    taking.arrived(Frame(FrameKind.DATA, STREAM, 0, b"12345678"))
    with pytest.raises(Broken):
        taking.arrived(Frame(FrameKind.DATA, STREAM, 1, b"123"))


def test_no_end_sends_more_than_it_was_granted():
    sending = Outgoing(STREAM)
    sending.granted(4)
    with pytest.raises(ValueError, match="more bytes"):
        sending.frame(FrameKind.DATA, b"12345")


def test_an_end_that_grants_without_bound_breaks_the_stream():
    sending = Outgoing(STREAM)
    with pytest.raises(Broken):
        deque(map(sending.granted, [MOST_WINDOW] * 10))


def test_numbers_begin_again_after_the_last():
    sending, taking = Outgoing(STREAM), Incoming()
    sending._number = taking._number = 0xFFFFFFFF
    for _ in range(3):
        taking.arrived(sending.frame(FrameKind.GRANT, grant(1)))


def test_what_an_end_says_of_a_reset_is_one_short_line():
    said = reason_of(Frame(FrameKind.RESET, STREAM, 0, b"bad\x1b[2J\nnews" + b"!" * 1000))
    assert said.isprintable()
    assert len(said) <= 200


@given(
    st.lists(
        st.tuples(st.text("ab\0:", max_size=4), st.text("ab\0:", max_size=4), st.text("ab", max_size=4)), unique=True
    )
)
def test_each_sync_target_has_a_tunnel_of_its_own(objects):
    named = [each for each in objects if "\0" not in "".join(each)]
    ids = [tunnel_id(*each) for each in named]
    assert len(set(ids)) == len(named)
    assert all(map(is_tunnel_id, ids))
