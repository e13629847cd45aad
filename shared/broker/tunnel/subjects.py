"""Where a tunnel is opened, and its bytes go: below the id of each tunnel, so that rights are by tunnel."""

import hashlib
import re
from typing import Final

TUNNELS: Final = "moorage.tunnel"
ACCOUNT: Final = "tunnels"
"""The account of all agents, in which each is a user that may use the subjects of its own tunnel alone."""

_TOKEN: Final = re.compile(r"[0-9a-f]{16}")
_ID: Final = re.compile(r"[0-9a-f]{32}")


def tunnel_id(workspace: str, name: str, uid: str) -> str:
    """The tunnel of a SyncTarget. It follows from which object it is: none can name the tunnel of another one."""
    return hashlib.sha256(f"tunnel\0{workspace}\0{name}\0{uid}".encode()).hexdigest()[:32]


def is_tunnel_id(text: str) -> bool:
    """Whether this can be one."""
    return _ID.fullmatch(text) is not None


def is_token(text: str) -> bool:
    """Whether this can be the name of a copy, of an agent or of a worker."""
    return _TOKEN.fullmatch(text) is not None


def opening(tunnel: str) -> str:
    """Where a stream is asked for; one of the copies of the agent answers."""
    return f"{TUNNELS}.{tunnel}.open"


def looking(tunnel: str, agent: str) -> str:
    """Where a copy of the agent is asked whether it is there, and which streams it has."""
    return f"{TUNNELS}.{tunnel}.look.{agent}"


def upward(tunnel: str, agent: str) -> str:
    """What workers send to a copy of the agent."""
    return f"{TUNNELS}.{tunnel}.up.{agent}"


def downward(tunnel: str, caller: str) -> str:
    """What the agent's copies send to a copy of a worker."""
    return f"{TUNNELS}.{tunnel}.down.{caller}"


def tunnel_of(subject: str) -> str:
    """The tunnel that a subject belongs to."""
    return subject.split(".", 3)[2]
