"""Where a URL leads: the server that is connected to, and what is asked of it."""

import functools
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
_BEGINS = re.compile(r"([A-Za-z]+://[^/?#\s]+)([!-~]*)")


@dataclass(frozen=True, slots=True)
class Origin:
    """A server as URLs name it. `host` is without brackets, `authority` is how the Host header says it."""

    scheme: str
    host: str
    port: int
    authority: str

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def split(url: str) -> tuple[Origin, str]:
    """The server of an http or https URL, and the rest of it as it is. Raises ValueError for what is none."""
    found = _BEGINS.fullmatch(url)
    if found is None:
        raise ValueError("no URL")
    target = found[2].partition("#")[0]
    return origin(found[1]), target if target.startswith("/") else f"/{target}"


@functools.lru_cache(maxsize=256)
def origin(url: str) -> Origin:
    """The server that a URL names; who we are there is not taken from it. Raises ValueError for what is none."""
    parts = urlsplit(url)
    scheme, host = parts.scheme.lower(), parts.hostname
    port = _PORTS[scheme] if scheme in _PORTS and parts.port is None else parts.port
    if scheme not in _PORTS or not host or not port or not host.isascii():
        raise ValueError("no http or https URL with a host")
    return Origin(scheme, host, port, parts.netloc.rpartition("@")[2])
