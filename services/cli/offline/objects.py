"""Facts that a manifest has on itself: its workspace, its name, where it was found, and what it stands for."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from services.cli.support.manifests import InvalidManifest, where
from shared.model.refs import PlacementRef

Manifest = Mapping[str, Any]
Decoded = TypeVar("Decoded")

PATH_ANNOTATIONS = ("kcp.io/path", "kcp.io/cluster")


def workspace_of(manifest: Manifest) -> str:
    """The workspace that a manifest says it lives in, as kcp annotates it; empty where it says nothing."""
    annotations = (manifest.get("metadata") or {}).get("annotations") or {}
    return next((str(annotations[key]) for key in PATH_ANNOTATIONS if key in annotations), "")


def named(manifest: Manifest) -> str:
    """An object's kind and name, and where it was found, for messages."""
    return f"{where(manifest)}: {manifest['kind']} {name_of(manifest)[1]}"


def decoded(decode: Callable[[Manifest], Decoded], manifest: Manifest) -> Decoded:
    """The object that a manifest stands for. Raises `InvalidManifest`."""
    try:
        return decode(manifest)
    except ValueError as error:
        raise InvalidManifest(f"{named(manifest)}: {error}") from None


def unique(manifests: Iterable[Manifest]) -> Iterator[Manifest]:
    """The manifests, as long as no two of them are one object. Raises `InvalidManifest`."""
    seen: dict[tuple[str, ...], Manifest] = {}
    for each in manifests:
        group = str(each.get("apiVersion", "")).rpartition("/")[0]
        first = seen.setdefault((group, each["kind"], workspace_of(each), *name_of(each)), each)
        if first is not each:
            raise InvalidManifest(f"{named(each)} is there twice: it is also {where(first)}")
        yield each


def name_of(manifest: Manifest) -> tuple[str, str]:
    metadata = manifest.get("metadata") or {}
    return str(metadata.get("namespace") or "default"), str(metadata.get("name") or "")


def labels_of(manifest: Manifest) -> dict[str, str]:
    """The labels of an object; none where it has no metadata."""
    return (manifest.get("metadata") or {}).get("labels") or {}


def ref_of(manifest: Manifest) -> PlacementRef:
    namespace, name = name_of(manifest)
    return PlacementRef(workspace=workspace_of(manifest), namespace=namespace, name=name)
