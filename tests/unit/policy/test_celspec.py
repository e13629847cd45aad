"""The counts of docs/policy.md: how they are counted, that they add up, and that they are true of the public data."""

import os
from pathlib import Path

import pytest

from shared.api.generate.__main__ import ROOT

from .celspec import FILES, agrees, cases, counts, page, read, value_of

OWN = r"""
name: "own"  # as the data is written: texts of several pieces, escapes, messages with and without colons
section {
  name: "taken"
  test { name: "sum" expr: "1 + " '1' value: { int64_value: 2 } }
  test { name: "a question mark" expr: "'\?\"' + '\\n'" value { string_value: '\?"\n' } }
  test { name: "no value is true" expr: "1 < 2" }
  test { name: "any error" expr: "1 / 0" eval_error: { errors: { message: "what it says does not matter" } } }
  test {
    name: "variables" expr: "x[0] == y.k"
    bindings: { key: "x" value: { value: { list_value { values: { uint64_value: 3 } } } } }
    bindings: {
      key: "y"
      value: { value: { map_value { entries { key: { string_value: "k" } value: { int64_value: 3 } } } } }
    }
    value: { bool_value: true }
  }
}
section {
  name: "differs"
  test { name: "value" expr: "1 + 1" value: { int64_value: 3 } }
  test { name: "type" expr: "1 + 1" value: { uint64_value: 2 } }
  test { name: "type within" expr: "[1.0]" value: { list_value { values: { int64_value: 1 } } } }
  test { name: "no error" expr: "1 / 1" eval_error: {} }
  test { name: "an error" expr: "1 / 0" value: { int64_value: 0 } }
}
section {
  name: "outside"
  test { name: "message" expr: "TestAllTypes{}" }
  test { name: "container" expr: "x" container: "y" }
  test { name: "type" expr: "type(1)" value: { type_value: "int" } }
  test { name: "object" expr: "1" value: { object_value { [type.googleapis.com/a.B] { value: 1 } } } }
}
"""


def test_cases_are_counted_that_a_rule_can_put_and_agree_where_value_and_type_do(tmp_path: Path) -> None:
    (tmp_path / "own.textproto").write_text(OWN)
    found = {each["name"][0].decode(): agrees(each) for each in cases(tmp_path, "own")}
    taken, differs = ([each["name"][0].decode() for each in section["test"]] for section in read(OWN)["section"][:2])
    assert found == {**dict.fromkeys(taken, True), **dict.fromkeys(differs, False)}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("double_value: -infinity", float("-inf")),
        ("null_value: NULL_VALUE", None),
        (r'bytes_value: "\000\377"', b"\x00\xff"),
        ("map_value {}", {}),
    ],
)
def test_values_are_read(text: str, value: object) -> None:
    assert value_of(read(text)) == value


def test_the_page_has_a_count_of_each_file_and_they_add_up() -> None:
    assert set(page()) == set(FILES)
    number, agree = (sum(each) for each in zip(*page().values(), strict=True))
    for where in ("docs/policy.md", "docs/adr/0030-one-engine-answers-what-rules-are.md"):
        assert f"{agree:,} of {number:,}" in (ROOT / where).read_text()


@pytest.mark.skipif("MOORAGE_CEL_SPEC" not in os.environ, reason="MOORAGE_CEL_SPEC names no tests/simple/testdata")
def test_the_page_is_true_of_the_public_data() -> None:
    folder = Path(os.environ["MOORAGE_CEL_SPEC"])
    assert {file: (number, number - len(differ)) for file, number, differ in counts(folder)} == page()
