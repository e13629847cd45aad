"""The way into one target, with what holds there for everything that is placed."""

from dataclasses import dataclass

from services.binding.target.claims import Held
from shared.kube.apis import RestMapper
from shared.kube.client import Client


@dataclass(frozen=True, slots=True)
class Way:
    """A client, the kinds that are served, and whose the namespaces were a moment ago."""

    client: Client
    mapper: RestMapper
    held: Held
