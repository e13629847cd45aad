"""Rollouts on the hub: read, and what is said of one written on its Placement."""

import argparse
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.cli.rollout.picture import RolloutPicture, picture, text
from services.cli.support.errors import CommandError
from services.cli.support.tenant import placement
from shared.hub.names import PLACEMENT_LABEL, field_manager, label_value
from shared.model.refs import PlacementRef

if TYPE_CHECKING:
    from services.cli.rollout.undoing import ObjectChange
    from shared.api import ObjectReference, Placement, PlacementRevision
    from shared.kube.client import Client
    from shared.kube.resources import Resource


@dataclass(frozen=True)
class RolloutHub:
    """The Placement that a command names, in its workspace."""

    client: "Client"
    ref: PlacementRef

    @property
    def where(self) -> str:
        return f"{self.ref.namespace}/{self.ref.name}"

    async def read(self) -> RolloutPicture:
        """How far it is. Raises CommandError where there is no rollout, and what reading raises."""
        from shared.api import PlacementBinding
        from shared.hub.decisions import read_decision
        from shared.hub.resources import BINDINGS

        found = await self.placement()
        if found.spec.rollout is None:
            raise CommandError(f"{self.where} has no spec.rollout: what changes goes to all its targets at once")
        decision = await read_decision(self.client, self.ref.name, self.ref.namespace)
        if decision is None or not decision.status.selected:
            raise CommandError(
                f"{self.where} runs in no target: moorage explain {self.ref.name} -n {self.ref.namespace}"
            )
        selector = f"{PLACEMENT_LABEL}={label_value(self.ref.name)}"
        page = await self.client.list(BINDINGS, self.ref.namespace, label_selector=selector, type=PlacementBinding)
        return picture(self.where, found, found.spec.rollout, decision, page.items)

    async def placement(self) -> "Placement":
        """The Placement as it is now."""
        from shared.api import Placement
        from shared.hub.resources import PLACEMENTS

        return await self.client.get(PLACEMENTS, self.ref.name, self.ref.namespace, type=Placement)

    async def revisions(self) -> "list[PlacementRevision]":
        """The revisions that are kept of it."""
        from shared.api import PlacementRevision
        from shared.hub.resources import REVISIONS

        selector = f"{PLACEMENT_LABEL}={label_value(self.ref.name)}"
        page = await self.client.list(REVISIONS, self.ref.namespace, label_selector=selector, type=PlacementRevision)
        return page.items

    async def found(self, ref: "ObjectReference") -> dict[str, Any] | None:
        """An object of the workspace; None where there is none."""
        from shared.kube.errors import ApiError

        try:
            return await self.client.get(await self._resource(ref), ref.name, ref.namespace)
        except ApiError as error:
            if error.absent(ref.name):
                return None
            raise

    async def write(self, change: "ObjectChange", *, dry_run: bool) -> None:
        """Write an object as it was, or try to."""
        ref, manager = change.revised.ref, field_manager("rollout")
        resource = await self._resource(ref)
        if change.before is None:
            await self.client.create(resource, change.content, field_manager=manager, dry_run=dry_run)
        else:
            await self.client.merge_patch(
                resource, ref.name, change.patch(), ref.namespace, field_manager=manager, dry_run=dry_run
            )

    async def change(self, placement: "Placement", spec: dict[str, Any]) -> None:
        """Change fields of the Placement's spec, on condition that nobody wrote it since."""
        from shared.hub.resources import PLACEMENTS

        metadata = placement.metadata
        patch = {"metadata": {"resourceVersion": metadata.resource_version}, "spec": spec}
        await self.client.merge_patch(
            PLACEMENTS, metadata.name, patch, metadata.namespace, field_manager=field_manager("rollout")
        )

    async def _resource(self, ref: "ObjectReference") -> "Resource":
        from shared.kube.apis import RestMapper, UnknownKind

        try:
            return await RestMapper(self.client).resource(ref.api_version, ref.kind)
        except UnknownKind as error:
            raise CommandError(str(error)) from None

    async def annotate(self, name: str, value: str | None) -> None:
        """Say something of it on its Placement; None takes it back."""
        from shared.hub.resources import PLACEMENTS

        patch = {"metadata": {"annotations": {name: value}}}
        await self.client.merge_patch(
            PLACEMENTS, self.ref.name, patch, self.ref.namespace, field_manager=field_manager("rollout")
        )


@asynccontextmanager
async def opened(args: argparse.Namespace) -> AsyncIterator[RolloutHub]:
    """The hub for what the flags say."""
    from services.cli.hub.connection import reader

    async with reader(args) as (client, _):
        yield RolloutHub(client, placement(args, ""))


def show(args: argparse.Namespace, found: RolloutPicture) -> None:
    """Print a rollout."""
    if args.output == "json":
        import msgspec

        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found)).decode() + "\n")
    else:
        sys.stdout.write(text(found))
