"""A world as data: workspaces, people and target clusters, and the kubeconfigs that lead into it.

Reads what it needs of a world file; what else is there (taints, cost ...) is for whoever makes SyncTargets of it.
"""

import base64
import copy
import os
from pathlib import Path

import msgspec
import yaml

from services.sandbox.access.auth import RBAC_GROUP
from services.sandbox.access.users import ADMINS, INTAKE
from services.sandbox.errors import ApiError, Document
from services.sandbox.plane import ControlPlane
from services.sandbox.schemas.kinds import KINDS
from services.sandbox.state.clusters import ROOT
from services.sandbox.world.targets import Target
from services.sandbox.world.targets import add as add_target

ADMIN = "admin"
WORKER = "intake"
WORKLOADS = {f"{spec['names']['plural']}.{spec['group']}".rstrip("."): spec for spec in KINDS["workloads"]}
_TEMPLATES = tuple(found for found in WORKLOADS if found not in ("pods", "nodes", "replicasets.apps"))


class Person(msgspec.Struct):
    """A user with a role per workspace: admin, edit, view, or none (may enter, sees nothing).

    `token` is made up where it is empty.
    """

    name: str
    groups: list[str] = []
    workspaces: dict[str, str] = {}
    token: str = ""


class World(msgspec.Struct):
    """`serves` are the workload kinds that each workspace gets by CustomResourceDefinition, as `deployments.apps`;
    `delay` is how many seconds workloads take to become ready; over `shards`, beside that of the root, workspaces are
    spread."""

    workspaces: list[str] = []
    users: list[Person] = []
    targets: list[Target] = []
    serves: list[str] = msgspec.field(default_factory=lambda: list(_TEMPLATES))
    admin_token: str = ""
    delay: float = 0.3
    shards: list[str] = []


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


def build(plane: ControlPlane, world: World, authority: bytes = b"") -> dict[str, Document]:
    """Make the world; returns kubeconfigs (which trust the PEM `authority`) by name: `admin`, `intake` (the worker, who
    may do as much, and name a requester), `user-<name>`, `target-<name>`.

    Raises ValueError for a world that cannot be.
    """

    def kubeconfig(cluster: str, user: str, token: str) -> Document:
        return _kubeconfig(f"{plane.url}/clusters/{cluster}", authority, cluster, user, token)

    files = {
        ADMIN: kubeconfig(ROOT, ADMIN, plane.add_user(ADMIN, (ADMINS,), token=world.admin_token)),
        WORKER: kubeconfig(ROOT, WORKER, plane.add_user(WORKER, (ADMINS, INTAKE))),
    }
    try:
        for path in sorted(world.workspaces, key=lambda path: path.count(":")):
            _add_workspace(plane, path, world.serves)
        for person in world.users:
            token = plane.add_user(person.name, tuple(person.groups), token=person.token)
            for path, role in person.workspaces.items():
                _grant(plane, path, person, role)
            home = next((path for path, role in person.workspaces.items() if role == "admin"), ROOT)
            files[f"user-{person.name}"] = kubeconfig(home, person.name, token)
        for target in world.targets:
            token = add_target(plane, target)
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


def _add_workspace(plane: ControlPlane, path: str, serves: list[str]) -> None:
    parent, _, name = path.rpartition(":")
    plane.create(parent, "tenancy.kcp.io/v1alpha1", "workspaces", {"metadata": {"name": name}})
    for served in serves:
        if served not in WORKLOADS:
            raise ValueError(f"serves: {served!r} is none of {', '.join(WORKLOADS)}")
        spec = WORKLOADS[served]  # of the core group too, which kcp allows in a definition of this name
        document = {"metadata": {"name": f"{spec['names']['plural']}.{spec['group'] or 'core'}"}, "spec": spec}
        plane.create(path, "apiextensions.k8s.io/v1", "customresourcedefinitions", copy.deepcopy(document))


def _grant(plane: ControlPlane, path: str, person: Person, role: str) -> None:
    """`access` on `/`, which kcp asks for before anything else, and the role."""
    if plane.clusters.find(path) is None:
        raise ValueError(f"user {person.name}: there is no workspace {path}")
    access = {"verbs": ["access"], "nonResourceURLs": ["/"]}
    reference = {"apiGroup": RBAC_GROUP, "kind": "ClusterRole"}
    subjects = [{"kind": "User", "name": person.name, "apiGroup": RBAC_GROUP}]
    name, rbac = f"access-{person.name}", f"{RBAC_GROUP}/v1"
    plane.create(path, rbac, "clusterroles", {"metadata": {"name": name}, "rules": [access]})
    for bound in (name, *(() if role == "none" else (role,))):
        binding = {"roleRef": {**reference, "name": bound}, "subjects": subjects}
        metadata = {"name": f"{person.name}-{bound}"}
        plane.create(path, rbac, "clusterrolebindings", {"metadata": metadata, **binding})


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
