"""A tenant whose workspace lies below a team's, who has rights there and nowhere above, beside the system at work."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.resources import NAMESPACES
from tests.support import worlds
from tests.support.manifests import obj
from tests.support.together import Together, together

TENANT = f"{worlds.TEAM}:web"
BELOW = f"{TENANT}:below"
"""A workspace that the tenant administers, too."""

NOWHERE = {"name": "nowhere", "effect": "Forbid", "expression": "true", "message": "not there"}


@asynccontextmanager
async def tenant_below(folder: Path) -> AsyncIterator[Together]:
    """The system, of which `user` is bob, a tenant with a workspace below alice's, and one below that."""
    world = worlds.world(1, delay=0.01)
    world["workspaces"] += [TENANT, BELOW]
    rights = {TENANT: "admin", BELOW: "admin", worlds.TEAM: "none", worlds.PLATFORM: "none"}
    world["users"].append({"name": "bob", "groups": [], "workspaces": rights})
    async with (
        together(folder, world, in_place_seconds=600.0) as found,
        Client(load_kubeconfig(folder / "user-bob.kubeconfig")) as bob,
    ):
        await bob.create(NAMESPACES, obj("Namespace", "v1", name=worlds.NAMESPACE, namespace=""))
        found.user = bob
        yield found
