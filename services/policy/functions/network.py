"""`ip` and `cidr` with their methods, after Kubernetes' CEL library. To whoever evaluates, both are texts."""

import ipaddress
from collections.abc import Callable
from typing import Any

from services.policy.functions.function import Function, FunctionError

LONGEST = 64

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def ip(text: str) -> str:
    """The address in its usual notation. Raises `FunctionError` for what is none, zones and mapped IPv4 included."""
    return str(_address(text))


def cidr(text: str) -> str:
    """Address and length of a prefix. Raises `FunctionError` for what is none."""
    return str(_interface(text))


def _of(text: str) -> str:
    """An address, also of a CIDR."""
    return ip(str(_interface(text).ip)) if "/" in text else ip(text)


def _address(text: str) -> _Address:
    try:
        found = ipaddress.ip_address(text if len(text) <= LONGEST and "%" not in text else "")
    except ValueError:
        raise FunctionError("not an IP address") from None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        raise FunctionError("an IPv4 address in IPv6 is not taken")
    return found


def _interface(text: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    address, _, length = text.partition("/")
    if not (length.isascii() and length.isdigit()) or str(int(length[:4])) != length:
        raise FunctionError("not a CIDR")
    _address(address)
    try:
        return ipaddress.ip_interface(text)
    except ValueError:
        raise FunctionError("not a CIDR") from None


def _network(text: str) -> _Network:
    return _interface(text).network


def _contains_ip(where: str, text: str) -> bool:
    return _address(text) in _network(where)


def _contains_cidr(where: str, text: str) -> bool:
    outer, inner = _network(where), _network(text)
    return outer.version == inner.version and inner.prefixlen >= outer.prefixlen and inner.network_address in outer


def _global_unicast(text: str) -> bool:
    address = _address(text)
    broadcast = address.version == 4 and int(address) == 2**32 - 1
    other = address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local
    return not (other or broadcast)


def _link_local_multicast(text: str) -> bool:
    address = _address(text)
    return address in (
        ipaddress.ip_network("224.0.0.0/24") if address.version == 4 else ipaddress.ip_network("ff02::/16")
    )


def _is(read: Callable[[str], str]) -> Callable[[str], bool]:
    def fits(text: str) -> bool:
        try:
            read(text)
        except FunctionError:
            return False
        return True

    return fits


def _function(
    name: str, kinds: tuple[tuple[str, ...], ...], result: str, call: Callable[..., Any], description: str, example: str
) -> Function:
    return Function(name, kinds, result, call, description, example)


NETWORK = (
    _function("ip", (("string",), ("CIDR",)), "IP", _of,
              "An IP address; of a CIDR, its address", 'ip("10.0.0.1").family() == 4'),
    _function("isIP", (("string",),), "bool", _is(ip), "Whether `ip` reads the text", 'isIP(target.labels.gateway)'),
    _function("ip.isCanonical", (("string",),), "bool", lambda text: ip(text) == text,
              "Whether the address is written as usual", 'ip.isCanonical("::1")'),
    _function("family", (("IP",),), "int", lambda text: _address(text).version, "4 or 6", 'ip("::1").family() == 6'),
    _function("isUnspecified", (("IP",),), "bool", lambda text: _address(text).is_unspecified,
              "Whether it is 0.0.0.0 or ::", 'ip("0.0.0.0").isUnspecified()'),
    _function("isLoopback", (("IP",),), "bool", lambda text: _address(text).is_loopback,
              "Whether it is of the host itself", 'ip("127.0.0.1").isLoopback()'),
    _function("isLinkLocalMulticast", (("IP",),), "bool", _link_local_multicast,
              "Whether it is a multicast address of the link", 'ip("224.0.0.1").isLinkLocalMulticast()'),
    _function("isLinkLocalUnicast", (("IP",),), "bool", lambda text: _address(text).is_link_local,
              "Whether it is a unicast address of the link", 'ip("169.254.1.1").isLinkLocalUnicast()'),
    _function("isGlobalUnicast", (("IP",),), "bool", _global_unicast,
              "Whether it is a unicast address beyond the link", 'ip("10.0.0.1").isGlobalUnicast()'),
    _function("cidr", (("string",),), "CIDR", cidr, "A network", 'cidr("10.0.0.0/8").prefixLength() == 8'),
    _function("isCIDR", (("string",),), "bool", _is(cidr), "Whether `cidr` reads it", 'isCIDR(target.labels.net)'),
    _function("containsIP", (("CIDR", "IP"), ("CIDR", "string")), "bool", _contains_ip,
              "Whether the address is in the network", 'cidr("10.0.0.0/8").containsIP(target.labels.gateway)'),
    _function("containsCIDR", (("CIDR", "CIDR"), ("CIDR", "string")), "bool", _contains_cidr,
              "Whether the other network is within this one", 'cidr("10.0.0.0/8").containsCIDR("10.1.0.0/16")'),
    _function("prefixLength", (("CIDR",),), "int", lambda text: _network(text).prefixlen,
              "How many bits the network has in common", 'cidr("10.0.0.0/8").prefixLength() == 8'),
    _function("masked", (("CIDR",),), "CIDR", lambda text: str(_network(text)),
              "The network, without the bits of an address in it", 'cidr("10.1.0.0/8").masked() == cidr("10.0.0.0/8")'),
)  # fmt: skip
