"""The public conformance data of CEL, as far as a rule can put it: how many cases of each file have the answer there.

    git clone --depth 1 https://github.com/google/cel-spec
    python -m tests.unit.policy.celspec cel-spec/tests/simple/testdata

prints the counts that docs/policy.md has, and each case that differs. The data are not ours, so they are not here; what
they are about is said by cases.txt in our own words.
"""

import json
import math
import re
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from google.protobuf.text_encoding import CUnescape

from services.policy.cel import calls
from services.policy.cel.program import node_of, prepare
from services.policy.language.diagnostics import InvalidExpression
from shared.api.generate.__main__ import ROOT

FILES = (
    "basic", "bindings_ext", "comparisons", "conversions", "encoders_ext", "fields", "fp_math", "integer_math", "lists",
    "logic", "macros", "macros2", "math_ext", "namespace", "network_ext", "optionals", "parse", "plumbing", "string",
    "string_ext", "timestamps",
)  # fmt: skip
"""Those that are not about protobuf messages, enums, or what a type checker infers."""

OUTSIDE = re.compile(r"TestAllTypes|google\.protobuf|NestedMessage")
"""What a rule cannot name: messages."""

Message = dict[str, list[Any]]
"""The fields of a message in protobuf's text format: each with all of its values."""

_TOKEN = re.compile(
    r"""\s+|\#[^\n]*|(?P<token>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|\[[^]]*\]|[\w.+-]+|[{}:,;])""", re.ASCII
)


def read(text: str) -> Message:
    """A message in protobuf's text format, as the data is written."""
    return _fields(deque([*(each["token"] for each in _TOKEN.finditer(text) if each["token"]), "}"]))


def _fields(tokens: deque[str]) -> Message:
    found: Message = {}
    while (name := tokens.popleft()) != "}":
        if name in ",;":
            continue
        if tokens[0] == ":":
            tokens.popleft()
        if tokens[0] == "{":
            tokens.popleft()
            value: Any = _fields(tokens)
        elif tokens[0][0] in "\"'":
            value = b""
            while tokens[0][0] in "\"'":  # one text may stand in several pieces
                value += _text(tokens.popleft()[1:-1])
        else:
            value = tokens.popleft()
        found.setdefault(name, []).append(value)
    return found


def _text(written: str) -> bytes:
    """What is between the quotes, with an escape of C that Python's library does not know."""
    return CUnescape(re.sub(r"\\(.)", lambda found: "?" if found[1] == "?" else found[0], written))


def value_of(message: Message) -> Any:
    """A value of the data in Python; raises `Outside` for what is none of a rule's."""
    ((kind, (given, *_)),) = message.items()
    match kind:
        case "int64_value" | "uint64_value":
            return int(given, 0)
        case "double_value":
            return float(given.replace("infinity", "inf"))
        case "bool_value":
            return given == "true"
        case "string_value":
            return given.decode()
        case "bytes_value":
            return given
        case "null_value":
            return None
        case "list_value":
            return [value_of(each) for each in given.get("values", [])]
        case "map_value":
            entries = given.get("entries", given.get("fields", []))
            return {value_of(each["key"][0]): value_of(each["value"][0]) for each in entries}
        case _:
            raise Outside(kind)


class Outside(Exception):
    """A case that a rule cannot put, or whose answer is none that a rule can have."""


def cases(folder: Path, file: str) -> Iterator[Message]:
    """The cases of a file that a rule can put."""
    for section in read((folder / f"{file}.textproto").read_text())["section"]:
        for case in section.get("test", []):
            said = str([case.get(field) for field in ("expr", "bindings", "value")])
            if "container" not in case and "check_only" not in case and not OUTSIDE.search(said):
                with suppress(Outside):
                    if "value" in case:
                        value_of(case["value"][0])
                    yield case


def agrees(case: Message) -> bool:
    """True if a rule has the answer that stands there: a value of that type, or an error, whatever it says."""
    expression = case["expr"][0].decode()
    for binding in case.get("bindings", []):
        name, value = binding["key"][0].decode(), binding["value"][0]["value"][0]
        if name.isidentifier() and name not in ("true", "false", "null"):  # rules have no such variables
            expression = f"cel.bind({name}, {written(value)}, {expression})"
    fails = "eval_error" in case or "any_eval_errors" in case
    try:
        program = prepare(node_of(expression), expression)
        answers, _ = calls.answers(program.calls, {})
        found = program.compiled.eval(None, answers)
        value, kind = found.plain_value(), found.type().name()
    except InvalidExpression:
        return fails
    except Exception:  # noqa: BLE001 - so the engine says that there is no answer
        return fails
    if fails or kind == "ERROR":
        return fails and kind == "ERROR"
    ((expected, _),) = case["value"][0].items() if "value" in case else (("bool_value", True),)
    return kind.partition("<")[0] == KINDS[expected] and alike(
        value, value_of(case["value"][0]) if "value" in case else True
    )


KINDS = {
    "int64_value": "INT", "uint64_value": "UINT", "double_value": "DOUBLE", "bool_value": "BOOL",
    "string_value": "STRING", "bytes_value": "BYTES", "null_value": "NULL", "list_value": "LIST", "map_value": "MAP",
}  # fmt: skip


def alike(one: Any, other: Any) -> bool:
    """Equal and of one type, all the way down; NaN is like itself."""
    match one, other:
        case list(), list():
            return len(one) == len(other) and all(map(alike, one, other))
        case dict(), dict():
            return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
        case bytearray(), bytes():
            return bytes(one) == other
        case float(), float():
            return one == other or (math.isnan(one) and math.isnan(other))
        case _:
            return type(one) is type(other) and bool(one == other)


def written(value: Message) -> str:
    """A value of the data as CEL writes it."""
    ((kind, (given, *_)),) = value.items()
    match kind:
        case "uint64_value":
            return f"{given}u"
        case "double_value":
            return f'double("{given}")'
        case "string_value":
            return json.dumps(given.decode())
        case "bytes_value":
            return "b'" + "".join(f"\\x{byte:02x}" for byte in given) + "'"
        case "null_value":
            return "null"
        case "list_value":
            return f"[{', '.join(map(written, given.get('values', [])))}]"
        case "map_value":
            entries = (f"{written(each['key'][0])}: {written(each['value'][0])}" for each in given.get("entries", []))
            return f"{{{', '.join(entries)}}}"
        case _:
            return str(given)


def counts(folder: Path) -> Iterator[tuple[str, int, list[str]]]:
    """Each file, how many cases of it a rule can put, and the names of those that differ."""
    for file in FILES:
        found = list(cases(folder, file))
        yield (
            file,
            len(found),
            [f"{each['name'][0].decode()}: {each['expr'][0].decode()}" for each in found if not agrees(each)],
        )


def page() -> dict[str, tuple[int, int]]:
    """What docs/policy.md says: of each file the cases, and how many agree."""
    text = (ROOT / "docs/policy.md").read_text()
    rows = re.findall(r"\b(\w+) \| (\d+) \| (\d+)\b", text[text.index("## How far this is CEL") :])
    return {file: (int(number), int(agree)) for file, number, agree in rows}


if __name__ == "__main__":
    for file, number, differ in counts(Path(sys.argv[1])):
        print(f"{file} | {number} | {number - len(differ)}", *differ, sep="\n    ")
