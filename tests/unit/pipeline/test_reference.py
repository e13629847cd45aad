"""docs/reference/subjects.md: what is committed is what the declarations imply, and what it says is so."""

import re
from pathlib import Path

import msgspec
import pytest
from msgspec import inspect as mi

from services.registry import load_all
from shared.broker.nats.permissions import Account, Right, publishing
from shared.pipeline import topology
from shared.pipeline.messages import MESSAGES, Message
from shared.pipeline.reference import COMMAND, granted, subjects_page
from tests.support.golden import sample

PAGE = Path(__file__).parents[3] / "docs/reference/subjects.md"
TEXT = PAGE.read_text()


def test_the_committed_page_is_what_the_declarations_imply() -> None:
    assert subjects_page(load_all()) == TEXT, f"run {COMMAND}"


@pytest.mark.parametrize("kind", MESSAGES)
def test_the_subject_of_a_message_has_the_tokens_that_the_page_shows(kind: type[Message]) -> None:
    real = msgspec.convert(sample(mi.type_info(kind)), kind).subject()
    (shown,) = re.findall(rf"^\| `([^`]+)` \| `{kind.__name__}`", TEXT, re.MULTILINE)
    assert shown.count(".") == real.count(".")
    assert shown.split(".")[:3] == real.split(".")[:3]


def test_every_message_has_somebody_who_may_publish_and_somebody_who_may_consume_it() -> None:
    section = TEXT.partition("## The pipeline")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    assert len(rows) == len(MESSAGES)
    assert [row for row in rows if not row[2].strip() or not row[3].strip()] == []


def test_every_stream_and_consumer_is_named() -> None:
    for stream in topology.streams():
        assert f"| `{stream.name}` |" in TEXT
    for worker in load_all():
        for consumer in topology.consumers(worker):
            assert f"| `{consumer.name}` |" in TEXT


def test_a_right_on_more_is_a_right_on_less_and_not_the_other_way_round() -> None:
    one = Account(name="one", summary="", rights=(Right("moorage.pipeline.decided.>"),))
    all_of_them = Account(name="all", summary="", rights=(Right("moorage.pipeline.>"),))
    wanted = publishing("moorage.pipeline.decided.>")
    assert granted(one, wanted)
    assert granted(all_of_them, wanted)
    assert not granted(one, publishing("moorage.pipeline.>"))
    assert not granted(one, (*wanted, Right("moorage.dead.>")))
