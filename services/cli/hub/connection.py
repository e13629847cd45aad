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

MANAGER = field_manager("install")
NOT_SERVED = ": is this the workspace (--workspace), and has Moorage been installed there?"
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
    from shared.kube.errors import ApiError, ConfigError, KubeError

    try:
        yield
    except ConfigError as error:
        raise UsageError(str(error)) from None
    except ApiError as error:
        unserved = error.not_found and not error.details.get("name")
        raise CommandError(f"{error}{NOT_SERVED if unserved else ''}") from None
    except KubeError as error:
        raise CommandError(str(error)) from None
