"""Which addresses a client may connect to, where somebody chose the server who is not trusted.

A kubeconfig in a tenant's Secret names a server, and our workers connect to it from where they are: without a bound,
that reaches the metadata service of the cloud, what listens on loopback, and everything else inside. What is judged is
the address that a connection is about to be made to, after name resolution, so that a name which resolves otherwise the
next time leads nowhere else either.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network
Address: TypeAlias = IPv4Address | IPv6Address

NEVER: Final[tuple[Network, ...]] = tuple(
    ip_network(each)
    for each in (
        "0.0.0.0/8",  # this host
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local; the metadata services of most clouds
        "168.63.129.16/32",  # Azure's wire server
        "100.100.100.200/32",  # Alibaba's metadata
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        "::/128",  # this host
        "::1/128",  # loopback
        "fe80::/10",  # link-local
        "fec0::/10",  # site-local, deprecated
        "ff00::/8",  # multicast
        "fd00:ec2::/32",  # AWS' metadata
        "fd20:ce::/32",  # Google's metadata
    )
)
"""Where no API server of a target is, unless the operator says so."""

_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE = IPv6Network("::/96")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where clients may connect to: to what is `allowed`, and to all that is neither `denied` nor in `NEVER`."""

    allowed: tuple[Network, ...] = ()
    denied: tuple[Network, ...] = ()

    def permit(self, address: str) -> bool:
        """True if an IP address may be connected to; what is no IP address may not.

        An IPv6 address that stands for an IPv4 address may not go where that may not.
        """
        try:
            found = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        plain, carried = _forms(found)
        if _within(plain, self.allowed):
            return True
        forms = (plain,) if carried is None else (plain, carried)
        return not any(_within(form, (*NEVER, *self.denied)) for form in forms)


def is_address(host: str) -> bool:
    """Whether a host is an IP address, rather than a name."""
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def networks(text: str) -> tuple[Network, ...]:
    """The networks of a comma-separated list such as `10.0.0.0/8, fd00::/8`. Raises ValueError for what is none."""
    return tuple(ip_network(part) for each in text.split(",") if (part := each.strip()))


def _within(address: Address, among: Iterable[Network]) -> bool:
    return any(address in network for network in among)


def _forms(address: Address) -> tuple[Address, IPv4Address | None]:
    """The address that it really is, and the IPv4 address to which a gateway or a tunnel would carry it."""
    if isinstance(address, IPv4Address):
        return address, None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped, None
    if address.sixtofour is not None:
        return address, address.sixtofour
    if address.teredo is not None:
        return address, address.teredo[1]
    if any(address in network for network in _NAT64) or (address in _COMPATIBLE and int(address) > 1):
        return address, IPv4Address(int(address) & 0xFFFFFFFF)
    return address, None
