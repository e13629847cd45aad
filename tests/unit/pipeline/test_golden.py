"""Old and new workers run side by side while a release is rolled out: each reads what the other writes (ADR 12)."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from msgspec import inspect as mi

from tests.support.golden import FOLDER, KINDS, TURNS, recorded, sample

RELEASES = sorted(FOLDER.glob("*.json"))
GONE: dict[str, set[str]] = {"0.1.0": {"Scheduled.policyScores"}}
"""Fields of a release that this version does not have any more. Nobody may have read them in that release."""

WIDER = {
    "0.1.0": {
        ("Toleration", "operator"),
        ("Toleration", "effect"),
        ("PlacementSpec", "conflictPolicy"),
        ("Cause", "code"),
    }
}
"""Fields of what people write, or switch on, that take more values than in a release, which is to be upgraded whole
before they do."""

Json = dict[str, Any]


def cases() -> Iterator[Any]:
    for path in RELEASES:
        for name in json.loads(path.read_text())["samples"]:
            yield pytest.param(path, name, id=f"{path.stem}-{name}")


CASES = list(cases())


def schema_of(release: Json, name: str) -> Json:
    return {"$ref": f"#/$defs/{name}", "$defs": release["schemas"]}


def resolved(schema: Json, defs: Json) -> Json:
    """What a schema stands for: behind its reference, and beside null."""
    while "$ref" in schema:
        schema = defs[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        return resolved(next(each for each in schema["anyOf"] if each != {"type": "null"}), defs)
    return schema


def least(value: Any, schema: Json, defs: Json) -> Any:
    """What is left of a sample without the fields that may be left out."""
    schema = resolved(schema, defs)
    if isinstance(value, dict) and "properties" in schema:
        return {name: least(value[name], schema["properties"][name], defs) for name in schema.get("required", ())}
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [least(each, schema["items"], defs) for each in value]
    return value


def gone(old: Json, old_defs: Json, new: Json, new_defs: Json, path: str) -> Iterator[str]:
    """Fields that the old schema has and the new one has not."""
    old, new = resolved(old, old_defs), resolved(new, new_defs)
    for name, each in old.get("properties", {}).items():
        if name in new["properties"]:
            yield from gone(each, old_defs, new["properties"][name], new_defs, f"{path}.{name}")
        else:
            yield f"{path}.{name}"
    for inner in ("items", "additionalProperties"):
        if isinstance(old.get(inner), dict) and isinstance(new.get(inner), dict):
            yield from gone(old[inner], old_defs, new[inner], new_defs, path)


@pytest.mark.parametrize(("path", "name"), CASES)
def test_what_a_release_wrote_is_read(path: Path, name: str):
    release = json.loads(path.read_text())
    whole = release["samples"][name]
    for written in (whole, least(whole, schema_of(release, name), release["schemas"])):
        assert isinstance(msgspec.convert(written, KINDS[name]), KINDS[name])


@pytest.mark.parametrize(("path", "name"), CASES)
def test_what_is_written_now_is_read_by_a_release(path: Path, name: str):
    release = json.loads(path.read_text())
    for struct, field in WIDER[path.stem]:
        release["schemas"][struct]["properties"][field] = {}
    for turn in range(TURNS):
        jsonschema_rs.validate(schema_of(release, name), sample(mi.type_info(KINDS[name]), turn))


def test_no_set_of_words_is_larger_than_there_are_turns():
    text = json.dumps(recorded(KINDS)["schemas"])
    assert max(len(words.split(",")) for words in re.findall(r'"(?:enum|examples)": \[([^]]*)\]', text)) <= TURNS


@pytest.mark.parametrize("path", RELEASES, ids=lambda path: path.stem)
def test_what_is_gone_since_a_release_is_listed(path: Path):
    release, now = json.loads(path.read_text()), recorded(KINDS)["schemas"]
    missing = {
        each
        for name in release["samples"]
        for each in gone(schema_of(release, name), release["schemas"], now[name], now, name)
    }
    assert missing == GONE[path.stem]


def test_there_is_a_file_for_every_release_and_each_says_what_is_gone():
    assert {path.stem for path in RELEASES} == GONE.keys()
