"""How to reach NATS and who to be there, as plain values; secrets never show in a `repr`."""

import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec

SECRET = frozenset({"token", "password"})


class NatsOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Identity and transport of a NATS connection; every part is optional."""

    token: str | None = None
    user: str | None = None
    password: str | None = None
    credentials_file: str | None = None  # a `.creds` file: user JWT and its seed
    nkey_seed_file: str | None = None
    tls_ca_file: str | None = None
    tls_certificate_file: str | None = None
    tls_key_file: str | None = None
    tls_handshake_first: bool = False
    inbox_prefix: str = "_INBOX"  # replies come below it; permissions may grant a worker its own
    api_prefix: str = "$JS.API"  # where our account finds the API of the JetStream that it uses

    def __repr__(self) -> str:
        given = {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}
        fields = (f"{name}={'***' if name in SECRET else repr(value)}" for name, value in given.items())
        return f"NatsOptions({', '.join(fields)})"

    def settings(self) -> dict[str, Any]:
        """Keyword arguments for the client library's `connect`.

        Raises OSError, with its name, for a file that cannot be read: the library looks only when a server asks for
        credentials, and what loads certificates does not say which file it means.
        """
        files = (
            self.credentials_file,
            self.nkey_seed_file,
            self.tls_ca_file,
            self.tls_certificate_file,
            self.tls_key_file,
        )
        for file in files:
            if file is not None:
                Path(file).open("rb").close()
        settings: dict[str, Any] = {
            "token": self.token,
            "user": self.user,
            "password": self.password,
            "user_credentials": self.credentials_file,
            "nkeys_seed": self.nkey_seed_file,
            "inbox_prefix": self.inbox_prefix,
            "tls": self._tls(),
            "tls_handshake_first": self.tls_handshake_first,
        }
        return {name: value for name, value in settings.items() if value is not None}

    def _tls(self) -> ssl.SSLContext | None:
        if not (self.tls_ca_file or self.tls_certificate_file or self.tls_handshake_first):
            return None
        context = ssl.create_default_context(cafile=self.tls_ca_file)
        if self.tls_certificate_file:
            context.load_cert_chain(self.tls_certificate_file, self.tls_key_file)
        return context


def without_credentials(url: str) -> str:
    """Server addresses without the user, password or token that they may carry."""
    return ",".join(_address(one.strip()) for one in url.split(","))


def _address(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
