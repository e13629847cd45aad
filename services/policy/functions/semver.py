"""`semver` and what can be asked of versions, after Semantic Versioning 2.0.0 and Kubernetes' CEL library.

To rules a version is a type of its own. To whoever evaluates it is a text that is ordered as versions are: numbers have
twenty digits, and what is before a release sorts before it.
"""

import re

from services.policy.functions.function import Function, FunctionError

LONGEST = 256

_NUMBER = r"(0|[1-9][0-9]{0,18})"
_PRE = r"(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
_VERSION = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_PRE}(?:\.{_PRE})*))?(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?", re.ASCII
)
_LOOSE = re.compile(r"v?([0-9]{1,19})(?:\.([0-9]{1,19}))?(?:\.([0-9]{1,19}))?([-+].*)?", re.ASCII)


def semver(text: str, normalize: bool = False) -> str:
    """The version. Raises `FunctionError` for a text that is none.

    With `normalize`, a leading `v` is dropped, and so are zeros before a number; minor and patch may be left out.
    """
    found = _VERSION.fullmatch(_normal(text) if normalize else text) if len(text) <= LONGEST else None
    if found is None:
        raise FunctionError("not a semantic version")
    major, minor, patch, before = found.groups()
    numbers = ".".join(f"{int(each):020d}" for each in (major, minor, patch))
    return f"{numbers}~" if before is None else f"{numbers}-" + "".join(map(_identifier, before.split(".")))


def _normal(text: str) -> str:
    found = _LOOSE.fullmatch(text)
    if found is None:
        return text
    return ".".join(str(int(each or 0)) for each in found.groups()[:3]) + (found.group(4) or "")


def _identifier(text: str) -> str:
    """Numbers sort before texts and by their value, and fewer identifiers before more."""
    return f"0{len(text):03d}{text}!" if text.isdigit() else f"1{text}!"


def is_semver(text: str, normalize: bool = False) -> bool:
    """True if `semver` reads the text."""
    try:
        semver(text, normalize)
    except FunctionError:
        return False
    return True


def _part(number: int, name: str) -> Function:
    def part(version: str) -> int:
        return int(version[21 * number : 21 * number + 20])

    return Function(
        name=name,
        overloads=(("Semver",),),
        result="int",
        call=part,
        description=f"The {name} version",
        example=f"semver(target.kubernetesVersion, true).{name}() >= 1",
    )


MAJOR, MINOR, PATCH = _part(0, "major"), _part(1, "minor"), _part(2, "patch")
SEMVER = Function(
    name="semver",
    overloads=(("string",), ("string", "bool")),
    result="Semver",
    call=semver,
    description="A semantic version; with `true`, also `v1.36` and `1.36.0-eks-1`",
    example='!semver(target.kubernetesVersion, true).isLessThan(semver("1.34.0"))',
)
IS_SEMVER = Function(
    name="isSemver",
    overloads=(("string",), ("string", "bool")),
    result="bool",
    call=is_semver,
    description="Whether `semver` reads the text",
    example='isSemver(placement.labels["min-version"])',
)
