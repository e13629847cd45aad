"""docs/reference/asyncapi.yaml and the schemas beside it: current, well-formed, and true of what is published."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import msgspec
import pytest
import yaml
from msgspec import inspect as mi

from shared.cloudevents import CloudEvent, structured
from shared.model.events import EVENTS, EventData, type_of
from shared.pipeline.events import PlacementEvent
from shared.pipeline.generate.__main__ import FOLDER, generated_files
from shared.pipeline.generate.channels import CHANNELS
from tests.support.golden import sample
from tests.support.worlds import placement

FILES = generated_files()
DOCUMENT = yaml.safe_load(FILES["asyncapi.yaml"])
SCHEMAS = {name: json.loads(text) for name, text in FILES.items() if name.startswith("schemas/")}
MANIFESTS = {"placement": placement("web")}
EXCHANGED = {kind.type: kind for channel in CHANNELS for kind in (*channel.messages, *channel.answers)}


def refs(node: Any) -> Iterator[str]:
    """Every reference in a document."""
    if isinstance(node, dict):
        yield from (value for name, value in node.items() if name == "$ref")
        for each in node.values():
            yield from refs(each)
    elif isinstance(node, list):
        for each in node:
            yield from refs(each)


def resolve(pointer: str, document: Any) -> Any:
    for name in pointer.removeprefix("#/").split("/"):
        document = document[name]
    return document


def schema_of(type: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(SCHEMAS[f"schemas/{type}.json"])


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_committed_file_is_what_the_structs_generate(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == FILES[name], "run python -m shared.pipeline.generate"


def test_no_stale_schema_lies_beside_them() -> None:
    assert {f"schemas/{path.name}" for path in (FOLDER / "schemas").iterdir()} == set(SCHEMAS)


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_a_schema_is_valid_and_stands_alone(name: str) -> None:
    jsonschema_rs.meta.validate(SCHEMAS[name])
    for ref in refs(SCHEMAS[name]):
        assert ref.startswith("#/")
        assert resolve(ref, SCHEMAS[name])


def test_every_reference_of_the_document_leads_somewhere() -> None:
    for ref in refs(DOCUMENT):
        assert ref.removeprefix("./") in SCHEMAS if ref.startswith("./") else resolve(ref, DOCUMENT)


@pytest.mark.parametrize("kind", EXCHANGED.values(), ids=EXCHANGED)
def test_what_has_every_field_is_valid_and_what_lacks_its_type_is_not(kind: Any) -> None:
    sent = {
        "specversion": "1.0",
        "id": "1",
        "source": "/x",
        "type": kind.type,
        **dict.fromkeys(kind.always, "1"),
        "data": {**sample(mi.type_info(kind.data)), **{name: MANIFESTS[name] for name in kind.given}},
    }
    validator = schema_of(kind.type)
    validator.validate(sent)
    assert not validator.is_valid({name: value for name, value in sent.items() if name != "type"})
    assert not validator.is_valid({**sent, "type": "another"})


@pytest.mark.parametrize("kind", EVENTS)
def test_an_event_as_it_is_published_is_valid(kind: type[EventData]) -> None:
    data = msgspec.convert(sample(mi.type_info(kind)), kind)
    event = PlacementEvent(data=data, occasion="1", at="2026-01-01T00:00:00Z")
    payload = event.encoded({"traceparent": "00-1-2-01"})
    schema_of(type_of(kind.kind)).validate(json.loads(payload))


def test_other_data_than_the_type_says_are_not_valid() -> None:
    event = CloudEvent(
        id="1", source="/x", type=type_of("ready"), subject="s", extensions={"sequence": "1"}, data=b'{"targets": 1}'
    )
    assert not schema_of(event.type).is_valid(json.loads(structured(event)))
