"""Which servers a token may be sent to, as an operator lists them, and whether a stranger's URL leads to one. Pure.

A stranger chooses name, port and path of a server, and the authority by which it proves itself; so each of them is
compared, but the last. A network stands for URLs with an address in it, never for names: where a name leads is known
when it is connected to, and programs that are told of it may resolve it themselves, to something else.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final

from shared.kube.addresses import Addresses, Network
from shared.kube.http.origin import Origin

_HTTPS: Final = 443
_EVERYTHING: Final = (ip_network("0.0.0.0/0"), ip_network("::/0"))
_LABEL = r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"
_NETWORK = r"(?P<four>[0-9]+(\.[0-9]+){3}(/[0-9]{1,2})?)|\[(?P<six>[0-9a-f:.]+(/[0-9]{1,3})?)\]"
_SERVER = re.compile(
    rf"({_NETWORK}|(?P<name>(\*\.)?({_LABEL}\.)*{_LABEL}))(:(?P<port>[0-9]{{1,5}}))?(?P<path>(/(?!\.{{1,2}}(/|$))[A-Za-z0-9._~:@-]+)*)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Server:
    """One server, or several: a name (after `*.` any below it) or a network; a port; and below which path."""

    name: str = ""
    network: Network | None = None
    port: int = _HTTPS
    path: str = ""

    def named(self, host: str) -> bool:
        """Whether a host has this name, or one below it after `*.`."""
        if self.name.startswith("*."):
            return host.endswith(self.name[1:]) and len(host) >= len(self.name)
        return bool(self.name) and host == self.name

    def at(self, origin: Origin, path: str) -> bool:
        """Whether port and path are of it. Without a path of its own it has no others: behind one may be others."""
        path = path.rstrip("/")
        return origin.port == self.port and (
            path == self.path or (bool(self.path) and path.startswith(f"{self.path}/"))
        )


def server(text: str) -> Server:
    """A server as operators write it: `*.example.com`, `10.1.0.0/16:6443`, `[fd00::/8]`, `host:8443/clusters`.

    The port is 443 unless it is said. Raises ValueError for what is none.
    """
    found = _SERVER.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no server such as *.example.com:6443 or 10.1.0.0/16:6443")
    port = int(found["port"] or _HTTPS)
    if not 0 < port <= 65535:
        raise ValueError(f"{text!r} has no port between 1 and 65535")
    if network := found["four"] or found["six"]:
        return Server(network=ip_network(network), port=port, path=found["path"])
    name = found["name"].lower()
    if name.rpartition(".")[2].isdigit():
        raise ValueError(f"{text!r} is neither a name nor an address")
    return Server(name=name, port=port, path=found["path"])


def is_listed(servers: Iterable[Server], origin: Origin, path: str) -> bool:
    """Whether a server is one of those that are listed: by its name where that is listed, else by its address."""
    there = [each for each in servers if origin.scheme == "https" and each.at(origin, path)]
    networks = tuple(each.network for each in there if each.network is not None)
    within = Addresses(allowed=networks, denied=_EVERYTHING)
    return any(each.named(origin.host) for each in there) or within.permit(origin.host)
