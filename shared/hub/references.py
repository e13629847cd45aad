"""References of a workload object by name, and the Services that select its pods."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from shared.hub.kinds import BUILT_IN, Kind, Kinds, items_at, pod_templates, value_at
from shared.kube.resources import CONFIGMAPS, SECRETS, SERVICES, Resource, group_of

Object = dict[str, Any]

REFERRED = {
    "ConfigMap": CONFIGMAPS,
    "PersistentVolumeClaim": Resource("", "v1", "persistentvolumeclaims", kind="PersistentVolumeClaim"),
    "Secret": SECRETS,
    "Service": SERVICES,
    "ServiceAccount": Resource("", "v1", "serviceaccounts", kind="ServiceAccount"),
}
"""The kinds that workloads name."""

_IN_EVERY_NAMESPACE = frozenset(
    {
        ("ConfigMap", "kube-root-ca.crt"),
        ("ConfigMap", "openshift-service-ca.crt"),
        ("ServiceAccount", "builder"),
        ("ServiceAccount", "default"),
        ("ServiceAccount", "deployer"),
    }
)
_CONTROLLERS = "kube-controller-manager"
_TOKEN = "kubernetes.io/service-account-token"  # noqa: S105 - a type of Secret


class Reference(msgspec.Struct, frozen=True, order=True):
    """An object of the core group in the workload's namespace. It may be missing where `optional`."""

    kind: str
    name: str
    optional: bool = False


def is_in_every_namespace(api_version: str, kind: str, name: str) -> bool:
    """Whether an object is one that each cluster makes itself in every namespace: none of them is placed."""
    return group_of(api_version) == "" and (kind, name) in _IN_EVERY_NAMESPACE


def is_made_by_cluster(obj: Mapping[str, Any]) -> bool:
    """Whether its cluster made an object: what is in every namespace, tokens of ServiceAccounts, what a controller of
    Kubernetes itself derived from another object, as a Deployment's ReplicaSets and pods, and what nobody but such a
    controller wrote, as the claims of a StatefulSet. No label selects these.
    """
    metadata = _mapping(obj.get("metadata"))
    api_version, kind = str(obj.get("apiVersion", "")), str(obj.get("kind", ""))
    if is_in_every_namespace(api_version, kind, str(metadata.get("name", ""))):
        return True
    if (group_of(api_version), kind) == ("", "Secret") and obj.get("type") == _TOKEN:
        return True
    owners = (each for each in _mappings(metadata.get("ownerReferences")) if each.get("controller") is True)
    if any(BUILT_IN.of(each).has_pods for each in owners):
        return True
    return {each.get("manager") for each in _mappings(metadata.get("managedFields"))} == {_CONTROLLERS}


def references(obj: Mapping[str, Any], kinds: Kinds = BUILT_IN) -> list[Reference]:
    """ConfigMaps, Secrets, ServiceAccounts, PersistentVolumeClaims and Services that an object and its pods name, each
    once, sorted.

    What every namespace has by itself (the default ServiceAccount, the root certificates) is left out. A reference that
    is optional in one place and needed in another is needed.
    """
    kind = kinds.of(obj)
    needed: dict[tuple[str, str], bool] = {}
    for found in (*_of_pods(obj, kind), *_of_object(obj, kind)):
        key = (found.kind, found.name)
        if found.name and key not in _IN_EVERY_NAMESPACE:
            needed[key] = needed.get(key, True) and found.optional
    return sorted(Reference(kind, name, optional) for (kind, name), optional in needed.items())


def left_behind(obj: Mapping[str, Any], kinds: Kinds = BUILT_IN) -> list[str]:
    """What the pods of an object name in the namespace, and what does not come along all the same: claims on devices,
    which are for their cluster's drivers. Each once, sorted.
    """
    fields = {"resourceClaimName": "ResourceClaim", "resourceClaimTemplateName": "ResourceClaimTemplate"}
    claims = [
        claim
        for template in pod_templates(obj, kinds.of(obj))
        for claim in _mappings(_mapping(template.get("spec")).get("resourceClaims"))
    ]
    return sorted({f"{kind} {claim[field]}" for claim in claims for field, kind in fields.items() if claim.get(field)})


def selecting(
    services: Sequence[Object], workload: Sequence[Mapping[str, Any]], kinds: Kinds = BUILT_IN
) -> list[Object]:
    """The Services whose selector matches the pods of one of the objects; one without a selector matches none."""
    labels = [each for obj in workload for each in pod_labels(obj, kinds)]
    return [service for service in services if selects(_mapping(_mapping(service.get("spec")).get("selector")), labels)]


def pod_labels(obj: Mapping[str, Any], kinds: Kinds = BUILT_IN) -> list[Object]:
    """The labels of an object's pods, for each of its pod templates."""
    templates = pod_templates(obj, kinds.of(obj))
    return [_mapping(_mapping(template.get("metadata")).get("labels")) for template in templates]


def selects(selector: Mapping[str, Any], labels: Iterable[Mapping[str, Any]]) -> bool:
    """True if a Service's selector matches pods with any of these labels; an empty one matches none."""
    return bool(selector) and any(selector.items() <= each.items() for each in labels)


def _of_pods(obj: Mapping[str, Any], kind: Kind) -> Iterator[Reference]:
    for template in pod_templates(obj, kind):
        yield from _of_pod(_mapping(template.get("spec")))


def _of_object(obj: Mapping[str, Any], kind: Kind) -> Iterator[Reference]:
    for field in kind.references:
        for item in items_at(obj, field.each):
            if field.kind_at is not None and value_at(item, field.kind_at) != field.kind:
                continue
            name = value_at(item, field.path, "")
            yield Reference(field.kind, name if isinstance(name, str) else "", field.optional)


def _of_pod(spec: Mapping[str, Any]) -> Iterator[Reference]:
    yield Reference("ServiceAccount", str(spec.get("serviceAccountName") or spec.get("serviceAccount") or ""))
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
    copied = value_at(volume, ("ephemeral", "volumeClaimTemplate", "spec"), {})
    if value_at(copied, ("dataSource", "kind")) == "PersistentVolumeClaim":
        yield from _named(copied, "dataSource", "PersistentVolumeClaim")
    yield from _named(volume, "azureFile", "Secret", field="secretName")
    for driver in ("cephfs", "cinder", "csi", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"):
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
