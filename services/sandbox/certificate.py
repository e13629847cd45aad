"""A self-signed certificate for development, so that kubectl, which sends no token without TLS, can be used.

ECDSA on P-256 (FIPS 186-5, SEC 1) and X.509 (RFC 5280) in as little as it takes. It makes keys for loopback that live
for one run; it is not constant in time, and nothing else should use it.
"""

import base64
import hashlib
import ipaddress
import secrets
from datetime import datetime, timedelta

_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
_Point = tuple[int, int] | None
_CURVE, _EC_KEY, _SIGNATURE = "2a8648ce3d030107", "2a8648ce3d0201", "2a8648ce3d040302"
_DAYS = 365


def _add(one: _Point, other: _Point) -> _Point:
    if one is None or other is None:
        return one or other
    if one[0] == other[0] and (one[1] + other[1]) % _P == 0:
        return None
    if one == other:
        slope = (3 * one[0] * one[0] - 3) * pow(2 * one[1], -1, _P) % _P
    else:
        slope = (other[1] - one[1]) * pow(other[0] - one[0], -1, _P) % _P
    x = (slope * slope - one[0] - other[0]) % _P
    return x, (slope * (one[0] - x) - one[1]) % _P


def _multiply(scalar: int) -> tuple[int, int]:
    result: _Point = None
    addend: _Point = _G
    while scalar:
        if scalar & 1:
            result = _add(result, addend)
        addend = _add(addend, addend)
        scalar >>= 1
    assert result is not None
    return result


def _der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    if len(content) < 128:
        return bytes((tag, len(content))) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _integer(value: int) -> bytes:
    return _der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _oid(encoded: str) -> bytes:
    return _der(0x06, bytes.fromhex(encoded))


def _bits(content: bytes, unused: int = 0) -> bytes:
    return _der(0x03, bytes((unused,)), content)


def _sign(private: int, message: bytes) -> bytes:
    digest = int.from_bytes(hashlib.sha256(message).digest(), "big")
    while True:
        nonce = secrets.randbelow(_N - 1) + 1
        r = _multiply(nonce)[0] % _N
        s = pow(nonce, -1, _N) * (digest + r * private) % _N
        if r and s:
            return _der(0x30, _integer(r), _integer(s))


def _extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    return _der(0x30, _oid(oid), b"\x01\x01\xff" if critical else b"", _der(0x04, value))


def _alternative_name(host: str) -> bytes:
    try:
        return _der(0x87, ipaddress.ip_address(host).packed)
    except ValueError:
        return _der(0x82, host.encode("idna"))


def _pem(label: str, der: bytes) -> bytes:
    return f"-----BEGIN {label}-----\n".encode() + base64.encodebytes(der) + f"-----END {label}-----\n".encode()


def self_signed(hosts: list[str], now: datetime) -> tuple[bytes, bytes]:
    """A certificate for these host names and addresses, valid for a year, and its key; both PEM."""
    private = secrets.randbelow(_N - 1) + 1
    point = b"\x04" + b"".join(part.to_bytes(32, "big") for part in _multiply(private))
    algorithm = _der(0x30, _oid(_SIGNATURE))
    name = _der(0x30, _der(0x31, _der(0x30, _oid("550403"), _der(0x0C, b"moorage-sandbox"))))
    times = [(now + timedelta(days=days)).strftime("%y%m%d%H%M%SZ").encode() for days in (-1, _DAYS)]
    extensions = (
        _extension("551d13", _der(0x30, b"\x01\x01\xff"), critical=True),  # basicConstraints: a CA, its own
        _extension("551d0f", _bits(b"\x84", 2), critical=True),  # keyUsage: digitalSignature, keyCertSign
        _extension("551d0e", _der(0x04, hashlib.sha256(point).digest()[:20])),  # subjectKeyIdentifier
        _extension("551d11", _der(0x30, *map(_alternative_name, hosts))),  # subjectAltName
    )
    body = _der(
        0x30,
        _der(0xA0, _integer(2)),
        _integer(secrets.randbits(63)),
        algorithm,
        name,
        _der(0x30, *(_der(0x17, time) for time in times)),
        name,
        _der(0x30, _der(0x30, _oid(_EC_KEY), _oid(_CURVE)), _bits(point)),
        _der(0xA3, _der(0x30, *extensions)),
    )
    certificate = _der(0x30, body, algorithm, _bits(_sign(private, body)))
    key = _der(
        0x30, _integer(1), _der(0x04, private.to_bytes(32, "big")), _der(0xA0, _oid(_CURVE)), _der(0xA1, _bits(point))
    )
    return _pem("CERTIFICATE", certificate), _pem("EC PRIVATE KEY", key)
