"""What API servers ask of the built-in kinds that people write by hand, beyond their schemas. Pure.

The rules are those of k8s.io/kubernetes: `pkg/apis/rbac/validation` and `pkg/apis/core/validation`.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping

from services.sandbox.errors import Cause, Document
from services.sandbox.schemas.names import CONFIG_KEY, LABEL, SUBDOMAIN, invalid

RBAC = "rbac.authorization.k8s.io"
OF_ACCOUNT = "kubernetes.io/service-account-token"
ACCOUNT_NAME = "kubernetes.io/service-account.name"
_NEEDED = {  # what a Secret of a type has to hold
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def _unsupported(field: str, value: str, *supported: str) -> Cause:
    listed = ", ".join(f'"{each}"' for each in supported)
    return Cause.unsupported(field, f'"{value}": supported values: {listed}')


def _role(document: Document) -> Iterator[Cause]:
    for position, rule in enumerate(document.get("rules") or ()):
        here = f"rules[{position}]"
        if not rule.get("verbs"):
            yield Cause.required(f"{here}.verbs", "verbs must contain at least one value")
        if rule.get("nonResourceURLs"):
            for refused, said in (
                (document["kind"] == "Role", "namespaced rules cannot apply to non-resource URLs"),
                (
                    any(rule.get(name) for name in ("apiGroups", "resources", "resourceNames")),
                    "rules cannot apply to both regular resources and non-resource URLs",
                ),
            ):
                if refused:
                    yield Cause.invalid(f"{here}.nonResourceURLs", said)
            continue
        for name, what in (("apiGroups", "api group"), ("resources", "resource")):
            if not rule.get(name):
                yield Cause.required(f"{here}.{name}", f"resource rules must supply at least one {what}")


def _binding(document: Document) -> Iterator[Cause]:
    reference, namespaced = document.get("roleRef") or {}, document["kind"] == "RoleBinding"
    kinds = ("Role", "ClusterRole") if namespaced else ("ClusterRole",)
    if reference.get("apiGroup", RBAC) != RBAC:
        yield _unsupported("roleRef.apiGroup", reference["apiGroup"], RBAC)
    if reference.get("kind") not in kinds:
        yield _unsupported("roleRef.kind", reference.get("kind", ""), *kinds)
    if not reference.get("name"):
        yield Cause.required("roleRef.name")
    for position, subject in enumerate(document.get("subjects") or ()):
        here, kind, name = f"subjects[{position}]", subject.get("kind"), subject.get("name", "")
        if not name:
            yield Cause.required(f"{here}.name")
        if kind == "ServiceAccount":
            yield from invalid(f"{here}.name", name, SUBDOMAIN.misfits(name) if name else [])
            if not (namespaced or subject.get("namespace")):
                yield Cause.required(f"{here}.namespace")
        elif kind not in ("User", "Group"):
            yield _unsupported(f"{here}.kind", kind or "", "ServiceAccount", "User", "Group")
        group = "" if kind == "ServiceAccount" else RBAC
        if subject.get("apiGroup", group) != group and kind in ("ServiceAccount", "User", "Group"):
            yield _unsupported(f"{here}.apiGroup", subject["apiGroup"], group)


def _service(document: Document) -> Iterator[Cause]:
    spec = document.get("spec") or {}
    ports = spec.get("ports") or []
    if not ports and spec.get("clusterIP") != "None" and spec.get("type") != "ExternalName":
        yield Cause.required("spec.ports")
    named: set[str] = set()
    for position, port in enumerate(ports):
        here, name, number = f"spec.ports[{position}]", port.get("name", ""), port.get("port")
        if name:
            yield from invalid(f"{here}.name", name, LABEL.misfits(name))
        elif len(ports) > 1:
            yield Cause.required(f"{here}.name")
        if name in named:
            yield Cause("FieldValueDuplicate", f"{here}.name", f'Duplicate value: "{name}"')
        named |= {name} - {""}
        if not isinstance(number, int) or not 1 <= number <= 65535:
            yield Cause.invalid(f"{here}.port", f"{number}: must be between 1 and 65535, inclusive")


def _deployment(document: Document) -> Iterator[Cause]:
    strategy = document["spec"].get("strategy") or {}
    if strategy.get("type") == "Recreate" and strategy.get("rollingUpdate") is not None:
        said = "Forbidden: may not be specified when strategy `type` is 'Recreate'"
        yield Cause("FieldValueForbidden", "spec.strategy.rollingUpdate", said)


def _data(document: Document) -> Iterator[Cause]:
    """Of a ConfigMap or a Secret."""
    secret = document["kind"] == "Secret"
    for field in ("data", "binaryData", "stringData"):
        for key, value in (document.get(field) or {}).items():
            wrong = CONFIG_KEY.misfits(key) + ([f"must not be '{key}'"] if key in (".", "..") else [])
            yield from invalid(f"{'data' if secret else field}[{key}]", key, wrong)
            if field == ("data" if secret else "binaryData") and (at := _not_base64(value)) is not None:
                yield Cause("FieldValueTypeInvalid", f"{field}.{key}", f"illegal base64 data at input byte {at}")
    if secret:
        annotations = (document.get("metadata") or {}).get("annotations") or {}
        if document.get("type") == OF_ACCOUNT and not annotations.get(ACCOUNT_NAME):
            yield Cause.required(f"metadata.annotations[{ACCOUNT_NAME}]")
        held = {**(document.get("data") or {}), **(document.get("stringData") or {})}
        for key in _NEEDED.get(document.get("type", ""), ()):
            if key not in held:
                yield Cause.required(f"data[{key}]")


def _not_base64(text: str) -> int | None:
    """Where a text stops being base64."""
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        found = re.search(r"[^A-Za-z0-9+/]", text)
        return found.start() if found else len(text)
    return None


CHECKS: Mapping[str, Callable[[Document], Iterator[Cause]]] = {
    f"roles.{RBAC}": _role,
    f"clusterroles.{RBAC}": _role,
    f"rolebindings.{RBAC}": _binding,
    f"clusterrolebindings.{RBAC}": _binding,
    "deployments.apps": _deployment,
    "services": _service,
    "configmaps": _data,
    "secrets": _data,
}
"""By resource."""
