"""The connection of a command to a hub, and how its errors are told."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from services.cli.support.errors import CommandError, UsageError
from shared.hub.names import field_manager
from shared.kube.errors import ConfigError, KubeError

if TYPE_CHECKING:
    from shared.kube.client import Client

MANAGER = field_manager("install")
PAUSE = 0.2  # seconds between two looks at what is waited for


def add_hub_argument(parser: argparse.ArgumentParser) -> None:
    """The flag that says which hub."""
    parser.add_argument(
        "--kubeconfig", type=Path, help="kubeconfig of an administrator (default: KUBECONFIG, or ~/.kube/config)"
    )


def open_client(kubeconfig: Path | None) -> "Client":
    """A client of the hub. Raises ConfigError."""
    from shared.kube.auth.kubeconfig import default, load_kubeconfig
    from shared.kube.client import Client

    credentials = load_kubeconfig(kubeconfig) if kubeconfig else default()
    return Client(credentials, user_agent=MANAGER, timeout=30)


@contextmanager
def hub_errors() -> Iterator[None]:
    """Within the block, what fails on a hub fails the command; credentials that cannot be used are a UsageError."""
    try:
        yield
    except ConfigError as error:
        raise UsageError(str(error)) from None
    except KubeError as error:
        raise CommandError(str(error)) from None
