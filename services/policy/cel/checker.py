"""Type-checking at admission, by cel-expr-python.

Records are declared as protobuf messages built at run time, so that the checker knows every field. The package and
protobuf are loaded on first use. A checker is per process; making one takes about a millisecond.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from services.policy.cel.standard import library
from services.policy.functions import FUNCTIONS
from services.policy.language.diagnostics import Diagnostic
from services.policy.language.lint import suggest
from services.policy.language.variables import PARAMS, RECORDS, VARIABLES

PACKAGE = "moorage"

ABSTRACT = frozenset({"Semver", "IP", "CIDR"})
"""Types that have no fields, only functions."""

_DOUBLES, _VERSIONS = ("double", "double"), ("Semver", "Semver")
_METHODS: dict[str, tuple[str, tuple[tuple[str, ...], ...]]] = {
    # the result, and what they take: methods that expand.py turns into operators
    "isGreaterThan": ("bool", (_DOUBLES, _VERSIONS)),
    "isLessThan": ("bool", (_DOUBLES, _VERSIONS)),
    "compareTo": ("int", (_DOUBLES, _VERSIONS)),
    "add": ("double", (_DOUBLES, ("double", "int"))),
    "sub": ("double", (_DOUBLES, ("double", "int"))),
    "asApproximateFloat": ("double", (("double",),)),
}

_FINDING = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_MAP = re.compile(r"map<string, (\w+)>")
_LIST = re.compile(r"list<(\w+)>")


class Checker:
    """Types of the variables that rules have, those of one policy included."""

    def __init__(self, variables: Mapping[str, Any] | None = None) -> None:
        from cel_expr_python import cel

        self.variables = dict(variables or {})
        declared = {name: _type(kind) for name, (kind, _) in VARIABLES.items()}
        own = {f"variables.{name}": kind for name, kind in self.variables.items() if name != PARAMS}
        if PARAMS in self.variables:
            own["params"] = cel.Type.DYN
        self._env = cel.NewEnv(_pool(), config=library(), variables={**declared, **own}, functions=_functions())

    def check(self, expression: str, result: str) -> list[Diagnostic]:
        """What is wrong, in reading order; `result` is the type that the expression must have, `dyn` for any."""
        kind, found = self.type_of(expression)
        if not found and result != "dyn" and kind.name().lower() not in (result, "dyn"):
            found = [Diagnostic(1, 1, f"the result is {_readable(kind.name().lower())}, not {result}")]
        return found

    def type_of(self, expression: str) -> tuple[Any, list[Diagnostic]]:
        """The type of the result and no findings, or None and the findings."""
        try:
            return self._env.compile(expression).return_type(), []
        except RuntimeError as error:
            found = [_diagnostic(int(line), int(column), text) for line, column, text in _FINDING.findall(str(error))]
            return None, sorted(found, key=lambda each: (each.line, each.column)) or [Diagnostic(1, 1, "is not valid")]


def _type(type: str) -> Any:
    from cel_expr_python import cel

    types = {
        "string": cel.Type.STRING,
        "bool": cel.Type.BOOL,
        "int": cel.Type.INT,
        "double": cel.Type.DOUBLE,
        "timestamp": cel.Type.TIMESTAMP,
        "dyn": cel.Type.DYN,
    }
    if type in ABSTRACT:
        return cel.Type.AbstractType(type)
    if type in types:
        return types[type]
    if found := _MAP.fullmatch(type):
        return cel.Type.Map(cel.Type.STRING, _type(found.group(1)))
    if found := _LIST.fullmatch(type):
        return cel.Type.List(_type(found.group(1)))
    return cel.Type(f"{PACKAGE}.{type}")


@lru_cache(maxsize=1)
def _functions() -> list[Any]:
    """Every function in each of its forms: plain, with the implicit argument left out, and as a member."""
    from cel_expr_python import cel

    declared = []
    for function in FUNCTIONS.values():
        forms = [(overload, False) for overload in function.overloads]
        forms += [(overload[1:], False) for overload in function.overloads if function.implicit]
        forms += [(overload, True) for overload in function.overloads if "." not in function.name]
        overloads = [
            cel.Overload(
                f"{function.name}_{number}",
                return_type=_type(function.result),
                parameters=[_type(each) for each in overload],
                is_member=member,
            )
            for number, (overload, member) in enumerate(forms)
        ]
        declared.append(cel.FunctionDecl(function.name, overloads))
    for name, (result, taken) in _METHODS.items():
        overloads = [
            cel.Overload(
                f"{name}_{number}",
                return_type=_type(result),
                parameters=[_type(each) for each in parts],
                is_member=True,
            )
            for number, parts in enumerate(taken)
        ]
        declared.append(cel.FunctionDecl(name, overloads))
    return declared


@lru_cache(maxsize=1)
def _pool() -> Any:
    """The records as protobuf messages."""
    from google.protobuf import descriptor_pb2, descriptor_pool

    file = descriptor_pb2.FileDescriptorProto(name="moorage/policy.proto", package=PACKAGE, syntax="proto3")
    for name, fields in RECORDS.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), 1):
            _add_field(message, field, number, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _add_field(message: Any, name: str, number: int, type: str) -> None:
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

    scalars = {
        "string": Field.TYPE_STRING,
        "bool": Field.TYPE_BOOL,
        "int": Field.TYPE_INT64,
        "double": Field.TYPE_DOUBLE,
    }
    map_of, list_of = _MAP.fullmatch(type), _LIST.fullmatch(type)
    label = Field.LABEL_REPEATED if map_of or list_of else Field.LABEL_OPTIONAL
    field = message.field.add(name=name, json_name=name, number=number, label=label)
    element = list_of.group(1) if list_of else type
    if map_of:
        # protobuf writes a map field as a repeated entry message of this very name
        entry = message.nested_type.add(name=f"{name[0].upper()}{name[1:]}Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=Field.TYPE_STRING, label=Field.LABEL_OPTIONAL)
        entry.field.add(name="value", number=2, type=scalars[map_of.group(1)], label=Field.LABEL_OPTIONAL)
        field.type = Field.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{message.name}.{entry.name}"
    elif element in scalars:
        field.type = scalars[element]
    else:
        field.type = Field.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{element}"


_NO_OVERLOAD = re.compile(r"found no matching overload for '(\S+)' applied to '(.*)'")
_NO_FIELD = re.compile(r"undefined field '(\w+)' not found in struct '\w+\.(\w+)'")


def _diagnostic(line: int, column: int, text: str) -> Diagnostic:
    text = text.removesuffix(" [INVALID_ARGUMENT]").removesuffix(" (in container '')")
    if found := _NO_FIELD.match(text):
        field, record = found.groups()
        message = f"{record} has no field `{field}`"
        return Diagnostic(line, column, message, suggest(field, RECORDS.get(record, {})))
    if found := _NO_OVERLOAD.match(text):
        operator, arguments = found.group(1), _readable(found.group(2))
        message = f"`{_readable_operator(operator)}` does not take {arguments}"
        return Diagnostic(line, column, message, _overload_hint(operator, arguments))
    return Diagnostic(line, column, _readable(text))


def _overload_hint(operator: str, arguments: str) -> str:
    if operator in FUNCTIONS:
        return f"for example {FUNCTIONS[operator].example}"
    if "double" in arguments and "int" in arguments:
        return "numbers of one kind only: write 1.0 beside a double, or convert with double()"
    return ""


def _readable_operator(operator: str) -> str:
    """`_&&_` as `&&`, `_?_:_` as `? :`."""
    return operator.replace("_?_:_", "? :").strip("_") or operator


def _readable(text: str) -> str:
    return text.replace(f"{PACKAGE}.", "").replace("google.protobuf.Timestamp", "timestamp")
