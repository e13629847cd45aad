"""TLS contexts: 24 to 53 ms each to build, so one is shared by all who trust the same authority as the same client."""

import functools
import os
import ssl
import tempfile
from pathlib import Path

from shared.kube.errors import ConfigError


@functools.lru_cache(maxsize=256)
def tls_context(ca: bytes | None, certificate: bytes | None, key: bytes | None, insecure: bool) -> ssl.SSLContext:
    """A client's context that trusts `ca` (PEM; the system's authorities if None).

    Raises ConfigError for what is no valid PEM, or a certificate that does not belong to its key.
    """
    try:
        context = ssl.create_default_context(cadata=ca.decode("ascii") if ca else None)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError("the certificate authority is not valid PEM") from error
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate and key:
        _load_identity(context, certificate, key)
    return context


def _load_identity(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    # OpenSSL's loader takes a file only. mkstemp makes it readable by us alone, and it is gone at once.
    descriptor, name = tempfile.mkstemp(prefix="moorage-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(certificate + b"\n" + key)
        context.load_cert_chain(name, password=lambda: "")  # an encrypted key fails instead of asking the terminal
    except (ssl.SSLError, OSError, ValueError):
        raise ConfigError("the client certificate and key do not load or do not belong together") from None
    finally:
        Path(name).unlink()
