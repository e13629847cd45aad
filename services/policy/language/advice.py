"""What is valid in an expression and hardly what its author means. Pure."""

from collections.abc import Iterator

from services.policy.language.diagnostics import Diagnostic
from services.policy.language.syntax import Call, SyntaxNode, path_of, walk

_ORDER = {"_<_", "_<=_", "_>_", "_>=_"}
_TEXTS = {"substring", "replace", "trim", "lowerAscii", "upperAscii", "charAt", "string", "dyn", "_?_:_"}
"""Functions whose answer is a version still where one of their arguments is, as a text."""


def misordered(node: SyntaxNode) -> Iterator[SyntaxNode]:
    """Comparisons that order Kubernetes versions as texts, in an expression with its variables in place."""
    for each in walk(node):
        if isinstance(each, Call) and each.name in _ORDER and any(map(_is_version, each.arguments)):
            yield each


def advice(comparison: SyntaxNode) -> Diagnostic:
    """What is said of such a comparison."""
    return Diagnostic(
        comparison.line,
        comparison.column,
        "target.kubernetesVersion is compared letter by letter, and so v1.10 comes before v1.9",
        'compare versions: semver(target.kubernetesVersion, true).isLessThan(semver("1.34.0"))',
    )


def _is_version(node: SyntaxNode) -> bool:
    if isinstance(node, Call):
        return node.name in _TEXTS and any(map(_is_version, node.arguments))
    return path_of(node) == ("target", "kubernetesVersion")
