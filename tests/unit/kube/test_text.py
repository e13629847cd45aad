"""Text of strangers."""

from hypothesis import given
from hypothesis import strategies as st

from shared.kube.text import told


@given(st.text(st.characters(), max_size=400), st.integers(8, 64))
def test_it_is_one_line_that_can_be_printed_of_bounded_size(text, most):
    found = told(text, most)
    assert len(found.encode()) <= most
    assert found.isprintable()
    assert told(found, most) == found


def test_what_is_plain_stays_as_it_is():
    assert told('pods "web" is forbidden: no') == 'pods "web" is forbidden: no'


def test_a_huge_text_is_not_read_whole():
    assert told("é" * 10_000_000).endswith("…")
