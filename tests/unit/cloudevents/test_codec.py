"""CloudEvents survive both modes of the wire, and what is none is refused with a reason."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.cloudevents import CONTENT_TYPE, MOST_BYTES, STRUCTURED, CloudEvent, InvalidEvent, binary, parse, structured

letters = st.characters(exclude_categories=("Cc", "Cs", "Cn"))
texts = st.text(letters, min_size=1, max_size=20)
names = st.from_regex(r"[a-z]{4,12}", fullmatch=True).map(lambda name: "x" + name)
json_data = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.text(letters, max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(letters, max_size=4), inner, max_size=3),
    max_leaves=5,
).map(lambda value: json.dumps(value).encode())
events = st.builds(
    CloudEvent,
    id=texts,
    source=texts,
    type=texts,
    subject=texts | st.just(""),
    time=st.sampled_from(["", "2026-11-28T09:00:00Z", "2026-11-28T09:00:00.123456+02:00"]),
    extensions=st.dictionaries(names, texts, max_size=3),
    data=json_data | st.just(b""),
) | st.builds(
    CloudEvent,
    id=texts,
    source=texts,
    type=texts,
    datacontenttype=st.just("application/octet-stream"),
    data=st.binary(),
)


@given(events)
def test_an_event_survives_structured_mode_with_and_without_the_header(event: CloudEvent):
    assert parse(structured(event), {CONTENT_TYPE: STRUCTURED}) == event
    assert parse(structured(event), {}) == event


@given(events)
def test_an_event_survives_binary_mode_in_headers_of_plain_ascii(event: CloudEvent):
    payload, headers = binary(event)
    assert parse(payload, headers) == event
    assert all(value.isascii() and value.isprintable() and " " not in value for value in headers.values())


def test_extensions_keep_their_types_in_structured_mode():
    event = CloudEvent(id="1", source="/a", type="t", extensions={"sequence": 7, "sampled": True, "traceparent": "00"})
    assert parse(structured(event), {}) == event


def test_the_example_of_the_specification_is_read():
    payload = b"""{"specversion": "1.0", "type": "com.example.someevent", "source": "/mycontext",
      "id": "A234-1234-1234", "time": "2018-04-05T17:31:00Z", "comexampleextension1": "value",
      "comexampleothervalue": 5, "unset": null,
      "datacontenttype": "text/xml", "data": "<much wow=\\"xml\\"/>"}"""
    event = parse(payload, {CONTENT_TYPE: "application/cloudevents+json; charset=UTF-8"})
    assert event.data == b'<much wow="xml"/>'
    assert event.extensions == {"comexampleextension1": "value", "comexampleothervalue": 5}


def test_header_names_of_binary_mode_are_read_in_any_case_and_values_percent_decoded():
    headers = {"Ce-Specversion": "1.0", "CE-Id": "Euro%20%E2%82%AC", "ce-source": "/a", "ce-type": "t"}
    event = parse(b"{}", {**headers, "Content-Type": "application/json"})
    assert (event.id, event.data) == ("Euro €", b"{}")


ENVELOPE = {"specversion": "1.0", "id": "1", "source": "/a", "type": "t"}
WRONG = {
    "no id": ({key: value for key, value in ENVELOPE.items() if key != "id"}, "attribute id is missing"),
    "empty source": ({**ENVELOPE, "source": ""}, "attribute source is missing"),
    "null type": ({**ENVELOPE, "type": None}, "attribute type is missing"),
    "another version": ({**ENVELOPE, "specversion": "0.3"}, "specversion must be 1.0"),
    "a number as id": ({**ENVELOPE, "id": 7}, "attribute id must be a string"),
    "an object as attribute": ({**ENVELOPE, "extra": {}}, "must be a string, a boolean or an integer"),
    "a fraction as attribute": ({**ENVELOPE, "extra": 1.5}, "must be a string, a boolean or an integer"),
    "a large integer": ({**ENVELOPE, "extra": 2**31}, "integer of 32 bits"),
    "a name in upper case": ({**ENVELOPE, "Extra": "1"}, "lower-case"),
    "a line break": ({**ENVELOPE, "id": "a\nb"}, "control character"),
    "half a surrogate pair": ({**ENVELOPE, "id": "\ud800"}, "attribute 'id'|no event in JSON|control"),
    "a long id": ({**ENVELOPE, "id": "x" * 3000}, "more than 2048"),
    "no time": ({**ENVELOPE, "time": "yesterday"}, "RFC 3339"),
    "a time without offset": ({**ENVELOPE, "time": "2026-11-28T09:00:00"}, "RFC 3339"),
    "data twice": ({**ENVELOPE, "data": 1, "data_base64": "MQ=="}, "both data"),
    "no base64": ({**ENVELOPE, "data_base64": "*"}, "base64"),
    "JSON in base64 that is none": ({**ENVELOPE, "data_base64": "e30+"}, "not JSON"),
    "text that is an object": ({**ENVELOPE, "datacontenttype": "text/plain", "data": {}}, "no string"),
    "many extensions": ({**ENVELOPE, **{f"x{n}": "" for n in range(60)}}, "more than 32"),
    "an array": ([ENVELOPE], "no event in JSON"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_event_is_refused_with_its_reason(case: str):
    body, reason = WRONG[case]
    with pytest.raises(InvalidEvent, match=reason):
        parse(json.dumps(body).encode(), {})


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "no event in JSON"),
        (b"not json", "no event in JSON"),
        (b'{"specversion": "1.0", "data": "\xff"}', "not UTF-8, at byte 32"),
        (b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"a": ' + b"[" * 100_000, "no event in JSON"),
        (b" " * (MOST_BYTES + 1), f"may have {MOST_BYTES} bytes"),
    ],
)
def test_garbage_is_refused_with_its_reason(payload: bytes, reason: str):
    with pytest.raises(InvalidEvent, match=reason):
        parse(payload, {})


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"content-type": "application/cloudevents-batch+json"}, "only application/cloudevents"),
        ({"content-type": "application/cloudevents+avro"}, "only application/cloudevents"),
        ({"ce-id": "1"}, "specversion"),
        ({"ce-specversion": "1.0", "ce-id": "%FF", "ce-source": "a", "ce-type": "t"}, "not UTF-8"),
    ],
)
def test_headers_that_describe_no_event_are_refused(headers: dict[str, str], reason: str):
    with pytest.raises(InvalidEvent, match=reason):
        parse(b"{}", headers)


def test_binary_data_that_are_not_the_json_that_they_say_are_refused():
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "a", "ce-type": "t"}
    for payload in (b"{", b'"\xff"', b"{} {}"):
        with pytest.raises(InvalidEvent, match="its data are not"):
            parse(payload, headers)


def test_an_invalid_event_tells_what_could_be_read_of_it_so_that_its_sender_can_be_answered():
    body = {"specversion": "1.0", "source": "/a", "type": "t", "replyto": "_INBOX.x"}
    with pytest.raises(InvalidEvent) as told:
        parse(json.dumps(body).encode(), {})
    assert told.value.attributes["replyto"] == "_INBOX.x"


@given(st.binary(max_size=200), st.dictionaries(st.sampled_from(["content-type", "ce-id", "ce-type"]), st.text()))
def test_nothing_but_an_invalid_event_is_raised(payload: bytes, headers: dict[str, str]):
    try:
        parse(payload, headers)
    except InvalidEvent as error:
        assert str(error)  # noqa: PT017 - either it is an event, or there is a reason
