"""A world as data: workspaces, people and target clusters, and the kubeconfigs that lead into it.

Reads what it needs of a world file; what else is there (taints, cost ...) is for whoever makes SyncTargets of it.
"""

import base64
import os
from pathlib import Path

import msgspec
import yaml

from services.sandbox.auth import ADMINS, RBAC_GROUP
from services.sandbox.builtins import WORKLOADS, definition
from services.sandbox.clusters import ROOT
from services.sandbox.errors import ApiError, Document
from services.sandbox.sandbox import Sandbox
from shared.kube.quantity import parse_quantity

ADMIN = "admin"
_TEMPLATES = tuple(found.id for found in WORKLOADS if found.id not in ("pods", "nodes", "replicasets.apps"))


class Person(msgspec.Struct):
    """A user with a role per workspace: admin, edit, view, or none (may enter, sees nothing).

    `token` is made up where it is empty.
    """

    name: str
    groups: list[str] = []
    workspaces: dict[str, str] = {}
    token: str = ""


class Target(msgspec.Struct):
    """A target cluster. `capacity` is of all its nodes, `allocated` what others run there; `lacks` names APIs that it
    does not serve, such as `batch/v1`."""

    name: str
    labels: dict[str, str] = {}
    nodes: int = 3
    capacity: dict[str, str] = msgspec.field(default_factory=lambda: {"cpu": "12", "memory": "48Gi", "pods": "330"})
    allocated: dict[str, str] = {}
    lacks: list[str] = []
    token: str = ""


class World(msgspec.Struct):
    """`serves` are the workload kinds that each workspace gets by CustomResourceDefinition, as `deployments.apps`;
    `delay` is how many seconds workloads take to become ready."""

    workspaces: list[str] = []
    users: list[Person] = []
    targets: list[Target] = []
    serves: list[str] = msgspec.field(default_factory=lambda: list(_TEMPLATES))
    admin_token: str = ""
    delay: float = 0.3


DEFAULT = World(
    workspaces=["root:platform", "root:team-a"],
    users=[
        Person("paula", ["platform"], {"root:platform": "admin"}),
        Person("alice", ["team-a"], {"root:team-a": "admin", "root:platform": "none"}),
    ],
    targets=[
        Target(f"{region}-1", {"topology.kubernetes.io/region": region}, lacks=lacks)
        for region, lacks in (("east", []), ("west", []), ("north", ["batch/v1"]))
    ],
)


def load(path: Path) -> World:
    """A world from a YAML or JSON file. Raises ValueError that says what is wrong in one line, and OSError."""
    try:
        return msgspec.convert(yaml.safe_load(path.read_bytes()), World)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error


def build(sandbox: Sandbox, world: World, authority: bytes = b"") -> dict[str, Document]:
    """Make the world; returns kubeconfigs (which trust the PEM `authority`) by name: `admin`, `user-<name>`,
    `target-<name>`. Raises ValueError for a world that cannot be."""

    def kubeconfig(cluster: str, user: str, token: str) -> Document:
        return _kubeconfig(f"{sandbox.url}/clusters/{cluster}", authority, cluster, user, token)

    files = {ADMIN: kubeconfig(ROOT, ADMIN, sandbox.add_user(ADMIN, (ADMINS,), token=world.admin_token))}
    try:
        for path in sorted(world.workspaces, key=lambda path: path.count(":")):
            _add_workspace(sandbox, path, world.serves)
        for person in world.users:
            token = sandbox.add_user(person.name, tuple(person.groups), token=person.token)
            for path, role in person.workspaces.items():
                _grant(sandbox, path, person, role)
            home = next((path for path, role in person.workspaces.items() if role == "admin"), ROOT)
            files[f"user-{person.name}"] = kubeconfig(home, person.name, token)
        for target in world.targets:
            token = _add_target(sandbox, target)
            files[f"target-{target.name}"] = kubeconfig(f"target:{target.name}", ADMIN, token)
    except ApiError as error:
        raise ValueError(f"the world cannot be built: {error.message}") from error
    return files


def write_private(path: Path, content: bytes) -> None:
    """Write a file that its owner alone can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def write_kubeconfigs(files: dict[str, Document], directory: Path) -> dict[str, Path]:
    """Write each as `<name>.kubeconfig`."""
    paths = {name: directory / f"{name}.kubeconfig" for name in files}
    for name, path in paths.items():
        write_private(path, yaml.safe_dump(files[name], sort_keys=False).encode())
    return paths


def _create(sandbox: Sandbox, cluster: str, group_version: str, plural: str, document: Document) -> None:
    namespace = document["metadata"].get("namespace", "")
    at = sandbox.address(cluster, group_version, plural, namespace)
    entry = sandbox.registry.create(at, dict(document), sandbox.system_write())
    if at.version.status and "status" in document:
        status = {**entry.document(), "status": document["status"]}
        sandbox.registry.update(at._replace(name=entry.key.name), status, sandbox.system_write("status"))


def _add_workspace(sandbox: Sandbox, path: str, serves: list[str]) -> None:
    parent, _, name = path.rpartition(":")
    _create(sandbox, parent, "tenancy.kcp.io/v1alpha1", "workspaces", {"metadata": {"name": name}})
    known = {resource.id: resource for resource in WORKLOADS}
    for served in serves:
        if served not in known:
            raise ValueError(f"serves: {served!r} is none of {', '.join(known)}")
        document = definition(known[served])
        _create(sandbox, path, "apiextensions.k8s.io/v1", "customresourcedefinitions", document)


def _grant(sandbox: Sandbox, path: str, person: Person, role: str) -> None:
    """`access` on `/`, which kcp asks for before anything else, and the role."""
    if sandbox.clusters.find(path) is None:
        raise ValueError(f"user {person.name}: there is no workspace {path}")
    access = {"verbs": ["access"], "nonResourceURLs": ["/"]}
    reference = {"apiGroup": RBAC_GROUP, "kind": "ClusterRole"}
    subjects = [{"kind": "User", "name": person.name, "apiGroup": RBAC_GROUP}]
    name, rbac = f"access-{person.name}", f"{RBAC_GROUP}/v1"
    _create(sandbox, path, rbac, "clusterroles", {"metadata": {"name": name}, "rules": [access]})
    for bound in (name, *(() if role == "none" else (role,))):
        binding = {"roleRef": {**reference, "name": bound}, "subjects": subjects}
        metadata = {"name": f"{person.name}-{bound}"}
        _create(sandbox, path, rbac, "clusterrolebindings", {"metadata": metadata, **binding})


def _add_target(sandbox: Sandbox, target: Target) -> str:
    cluster, token = sandbox.add_target(target.name, lacks=tuple(target.lacks), token=target.token)
    room = {name: str(quantity) for name, quantity in target.capacity.items()}
    for number in range(target.nodes):
        _create(sandbox, cluster.name, "v1", "nodes", _node(target, number, share(room, target.nodes)))
    if target.allocated:
        _create(sandbox, cluster.name, "v1", "pods", _others(target))
    return token


def share(total: dict[str, str], parts: int) -> dict[str, str]:
    """An equal part of each quantity: cpu in thousandths, anything else in whole units."""
    units = {name: parse_quantity(value) / parts for name, value in total.items()}
    return {name: f"{int(each * 1000)}m" if name == "cpu" else str(int(each)) for name, each in units.items()}


def _node(target: Target, number: int, room: dict[str, str]) -> Document:
    return {
        "metadata": {"name": f"{target.name}-{number}", "labels": target.labels},
        "status": {
            "capacity": room,
            "allocatable": room,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            "nodeInfo": {"kubeletVersion": "v1.36.0"},
        },
    }


def _others(target: Target) -> Document:
    """One pod that stands for all that others run in the cluster."""
    requests = {name: str(value) for name, value in target.allocated.items() if name != "pods"}
    container = {"name": "others", "image": "others", "resources": {"requests": requests}}
    metadata = {"name": "others", "namespace": "kube-system"}
    return {"metadata": metadata, "spec": {"containers": [container], "nodeName": f"{target.name}-0"}}


def _kubeconfig(server: str, authority: bytes, cluster: str, user: str, token: str) -> Document:
    trust = {"certificate-authority-data": base64.b64encode(authority).decode()} if authority else {}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {"server": server, **trust}}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        "current-context": cluster,
    }
