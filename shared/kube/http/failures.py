"""Why a connection failed, in words of our own: other libraries quote what the server sent, and its addresses."""

import os
import socket
import ssl


def why(error: BaseException) -> str:
    """A few words on what went wrong; nothing in them comes from the server."""
    match error:
        case socket.gaierror():
            return "the name does not resolve"
        case ssl.SSLCertVerificationError():
            return f"the certificate is not trusted: {error.verify_message}"
        case ssl.SSLError():
            return f"no TLS: {error.reason or 'the handshake failed'}"
        case OSError(errno=int() as number) if number:
            return os.strerror(number)
        case OSError():
            return "cannot be connected to"
        case _:
            return f"cannot be asked ({type(error).__name__})"
