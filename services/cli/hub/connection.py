"""The connection of a command to a hub, and how its errors are told."""

import argparse
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from services.cli.support.errors import CommandError, UsageError
from shared.hub.names import field_manager

if TYPE_CHECKING:
    from shared.kube.client import Client
    from shared.kube.errors import KubeError

MANAGER = field_manager("install")
NOT_SERVED = ": is this the workspace (--workspace), and has Moorage been installed there?"
UNKNOWN = (
    ": kcp knows no workspace of this path, or not yet: see whether it is right (--workspace, or the server in the "
    "kubeconfig); `kubectl get workspaces` in the workspace above lists those that there are"
)
DENIED = (
    ": kcp answers so where one may not enter the workspace (`access` on /), where one may but lacks this right, and "
    "where no workspace has this id: see whether it is right, and ask its administrator for what is missing"
)
_DENIED = "access denied"  # ends what kcp refuses, and nothing that Kubernetes does
PAUSE = 0.2  # seconds between two looks at what is waited for


def open_client(kubeconfig: Path | None) -> "Client":
    """A client of the hub, by a kubeconfig or what stands for one. Raises ConfigError."""
    from shared.kube.auth.kubeconfig import default, load_kubeconfig
    from shared.kube.client import Client

    chosen = kubeconfig or os.environ.get("MOORAGE_KUBECONFIG")
    credentials = load_kubeconfig(Path(chosen)) if chosen else default()
    return Client(credentials, user_agent=MANAGER, timeout=30)


@asynccontextmanager
async def reader(args: argparse.Namespace) -> "AsyncIterator[tuple[Client, str]]":
    """A client for what `add_reader_arguments` declared, and the workspace; empty where it is the kubeconfig's own.

    Raises ConfigError, and UsageError for what is no workspace.
    """
    workspace = os.environ.get("MOORAGE_WORKSPACE", "") if args.workspace is None else args.workspace
    async with open_client(args.kubeconfig) as client:
        try:
            yield client.cluster(workspace) if workspace else client, workspace
        except ValueError as error:
            raise UsageError(f"--workspace: {error}") from None


@contextmanager
def hub_errors() -> Iterator[None]:
    """Within the block, what fails on a hub fails the command; credentials that cannot be used are a UsageError."""
    from shared.kube.errors import ConfigError, KubeError

    try:
        yield
    except ConfigError as error:
        raise UsageError(str(error)) from None
    except KubeError as error:
        raise CommandError(explained(error)) from None


def explained(error: "KubeError") -> str:
    """What failed on a hub, and where its answer leaves open what is wrong, what that may be and what to do."""
    from shared.kube.errors import ApiError

    if not isinstance(error, ApiError):
        return str(error)
    if error.unknown_workspace:
        return f"{error}{UNKNOWN}"
    if error.not_found and not error.details.get("name"):
        return f"{error}{NOT_SERVED}"
    return f"{error}{DENIED if error.forbidden and error.message.endswith(_DENIED) else ''}"
