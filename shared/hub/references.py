"""References of a workload object by name, and the Services that select its pods."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from shared.hub.kinds import kind_of, value_at
from shared.kube.resources import CONFIGMAPS, SECRETS, Resource

Object = dict[str, Any]

REFERRED = {
    "ConfigMap": CONFIGMAPS,
    "PersistentVolumeClaim": Resource("", "v1", "persistentvolumeclaims", kind="PersistentVolumeClaim"),
    "Secret": SECRETS,
    "ServiceAccount": Resource("", "v1", "serviceaccounts", kind="ServiceAccount"),
}
"""The kinds that pods name."""

_IN_EVERY_NAMESPACE = frozenset({("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt")})


class Reference(msgspec.Struct, frozen=True, order=True):
    """An object of the core group in the workload's namespace. It may be missing where `optional`."""

    kind: str
    name: str
    optional: bool = False


def pod_template(obj: Mapping[str, Any]) -> Object | None:
    """The pod template of an object (the object itself, if it is a Pod), or None."""
    path = kind_of(obj).pods
    return None if path is None else _mapping(value_at(obj, path))


def references(obj: Mapping[str, Any]) -> list[Reference]:
    """ConfigMaps, Secrets, ServiceAccounts and PersistentVolumeClaims that an object's pods name, each once, sorted.

    What every namespace has by itself (the default ServiceAccount, the root certificates) is left out. A reference that
    is optional in one place and needed in another is needed.
    """
    template = pod_template(obj)
    if template is None:
        return []
    needed: dict[tuple[str, str], bool] = {}
    for found in _of_pod(_mapping(template.get("spec"))):
        key = (found.kind, found.name)
        if found.name and key not in _IN_EVERY_NAMESPACE:
            needed[key] = needed.get(key, True) and found.optional
    return sorted(Reference(kind, name, optional) for (kind, name), optional in needed.items())


def selecting(services: Sequence[Object], workload: Sequence[Mapping[str, Any]]) -> list[Object]:
    """The Services whose selector matches the pods of one of the objects; one without a selector matches none."""
    labels = [found for obj in workload if (found := pod_labels(obj)) is not None]
    return [service for service in services if selects(_mapping(_mapping(service.get("spec")).get("selector")), labels)]


def pod_labels(obj: Mapping[str, Any]) -> Object | None:
    """The labels of an object's pods; None for one without pods."""
    template = pod_template(obj)
    return None if template is None else _mapping(_mapping(template.get("metadata")).get("labels"))


def selects(selector: Mapping[str, Any], labels: Iterable[Mapping[str, Any]]) -> bool:
    """True if a Service's selector matches pods with any of these labels; an empty one matches none."""
    return bool(selector) and any(selector.items() <= each.items() for each in labels)


def _of_pod(spec: Mapping[str, Any]) -> Iterator[Reference]:
    yield Reference("ServiceAccount", str(spec.get("serviceAccountName") or ""))
    for secret in _mappings(spec.get("imagePullSecrets")):
        yield Reference("Secret", str(secret.get("name", "")))
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in _mappings(spec.get(field)):
            yield from _of_container(container)
    for volume in _mappings(spec.get("volumes")):
        yield from _of_volume(volume)


def _of_container(container: Mapping[str, Any]) -> Iterator[Reference]:
    for source in _mappings(container.get("envFrom")):
        yield from _named(source, "configMapRef", "ConfigMap")
        yield from _named(source, "secretRef", "Secret")
    for variable in _mappings(container.get("env")):
        source = _mapping(variable.get("valueFrom"))
        yield from _named(source, "configMapKeyRef", "ConfigMap")
        yield from _named(source, "secretKeyRef", "Secret")


def _of_volume(volume: Mapping[str, Any]) -> Iterator[Reference]:
    yield from _named(volume, "configMap", "ConfigMap")
    yield from _named(volume, "secret", "Secret", field="secretName")
    yield from _named(volume, "persistentVolumeClaim", "PersistentVolumeClaim", field="claimName")
    for source in _mappings(_mapping(volume.get("projected")).get("sources")):
        yield from _named(source, "configMap", "ConfigMap")
        yield from _named(source, "secret", "Secret")
    for driver in ("cephfs", "csi", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"):
        source = _mapping(volume.get(driver))
        yield from _named(source, "secretRef", "Secret")
        yield from _named(source, "nodePublishSecretRef", "Secret")


def _named(source: Mapping[str, Any], key: str, kind: str, field: str = "name") -> Iterator[Reference]:
    found = _mapping(source.get(key))
    if found.get(field):
        yield Reference(kind, str(found[field]), found.get("optional") is True)


def _mapping(value: Any) -> Object:
    return value if isinstance(value, dict) else {}


def _mappings(value: Any) -> list[Object]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
