"""The content of a world: which user applies which files in which workspace, done as that user."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from services.cli.support.errors import CommandError, UsageError
from services.cli.support.offers import Content
from shared.kube.apis import RestMapper, UnknownKind
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.model.refs import PlacementRef

FIELD_MANAGER = "kubectl"  # as if the user had done it by hand
ORDER = {"Namespace": 0, "PlacementPolicy": 2, "Placement": 3}
"""Everything else comes after its namespace and before what decides about it."""

Object = dict[str, Any]


async def apply(content: Content, folder: Path, kubeconfig: Path, creating: Callable[[PlacementRef], None]) -> int:
    """Apply the files (or folders of files) below `folder`; returns how many objects there were.

    `creating` is called right before each Placement is sent. Raises CommandError for files that cannot be used, and
    KubeError.
    """
    objects = ordered(await asyncio.to_thread(read, folder, content.files))
    async with Client(load_kubeconfig(kubeconfig), user_agent="moorage-demo") as client:
        workspace = client.cluster(content.workspace)
        mapper = RestMapper(workspace)
        for obj in objects:
            try:
                resource = await mapper.resource(obj["apiVersion"], obj["kind"])
            except UnknownKind as error:
                raise CommandError(f"{content.workspace}: {error}") from None
            if obj["kind"] == "Placement":
                metadata = obj["metadata"]
                creating(
                    PlacementRef(workspace=content.workspace, namespace=metadata["namespace"], name=metadata["name"])
                )
            await workspace.apply(resource, obj, field_manager=FIELD_MANAGER)
    return len(objects)


def read(folder: Path, files: Iterable[str]) -> list[Object]:
    """The objects in these files, and in all YAML files of those that are folders."""
    import yaml

    objects: list[Object] = []
    for name in files:
        path = folder / name
        try:
            for file in sorted(path.glob("*.yaml")) if path.is_dir() else [path]:
                objects += [obj for obj in yaml.safe_load_all(file.read_bytes()) if obj]
        except OSError as error:
            raise UsageError(f"{error.filename} cannot be read: {error.strerror}") from None
        except yaml.YAMLError as error:
            raise UsageError(f"{path}: {' '.join(str(error).split())}") from None
    return objects


def ordered(objects: Sequence[Object]) -> list[Object]:
    """In an order that can be applied, with the namespaces that are used and not among them."""
    made = {obj["metadata"]["name"] for obj in objects if obj["kind"] == "Namespace"}
    used = {obj["metadata"].get("namespace", "") for obj in objects}
    missing = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in sorted(used - made - {""})
    ]
    return sorted([*missing, *objects], key=lambda obj: ORDER.get(obj["kind"], 1))
