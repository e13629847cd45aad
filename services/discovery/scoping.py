"""The labels by which policies choose placements, for questions: to rounds the controller says them."""

from dataclasses import dataclass

import msgspec

from shared.broker.table import View
from shared.broker.tokens import join
from shared.hub.holding import goes_by_namespaces, labels_for, reaches
from shared.hub.hub import Hub
from shared.hub.namespaces import LabelledNamespace
from shared.kube.errors import KubeError
from shared.kube.resources import NAMESPACES
from shared.model.policy import PolicyEntry
from shared.model.request import Request
from shared.model.target import Workspace


@dataclass
class Scoping:
    """Knows these labels where a policy goes by any; else nothing is read."""

    hub: Hub
    policies: View[PolicyEntry]
    workspaces: View[Workspace]

    async def scoped(self, request: Request) -> Request:
        """The request with the labels by which policies may hold for its placement. What cannot be read is left out."""
        home = request.placement.workspace
        policies = [each for each in self.policies.values() if reaches(each.workspace, home)]
        namespace = await self._namespace(request) if goes_by_namespaces(policies) else None
        return msgspec.structs.replace(request, scope_labels=labels_for(policies, home, self._workspace, namespace))

    def _workspace(self, path: str) -> Workspace | None:
        return self.workspaces.get(join(path))

    async def _namespace(self, request: Request) -> dict[str, str] | None:
        client, name = self.hub.at(request.placement.workspace), request.placement.namespace
        try:
            return (await client.get(NAMESPACES, name, type=LabelledNamespace)).labels
        except KubeError:
            return None
