"""The plan of what runs on this machine, and where it is once it does."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from services import PIPELINE
from services.cli.support.local import DEFAULT_WORLD, READY_WITHIN


class Endpoints(msgspec.Struct, rename="camel"):
    """Where everything is, as `moorage up -o json` prints it; `spans` is empty where they are sent elsewhere."""

    nats: str
    kubeconfig: str
    targets: dict[str, str]
    users: dict[str, str]
    pids: dict[str, int]
    logs: str
    spans: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The processes to start: an empty `nats` or `kubeconfig` means one of our own.

    `env` is the environment of all processes, `env_of` what one worker has beside it.
    `keeps_spans`: workers keep theirs in a folder, unless the environment has them sent.
    """

    data: Path
    nats: str = ""
    nats_port: int = 0
    kubeconfig: str = ""
    world: Path = DEFAULT_WORLD
    sandbox_port: int = 0
    workers: Sequence[str] = PIPELINE
    copies: Mapping[str, int] = {}
    ready_within: float = READY_WITHIN
    keeps_spans: bool = False
    env: Mapping[str, str] = {}
    env_of: Mapping[str, Mapping[str, str]] = {}
