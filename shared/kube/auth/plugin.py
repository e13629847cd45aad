"""Credentials that a program or an identity provider issues: exec plugins and OIDC.

kubernetes-asyncio knows these protocols, and costs 1.6 s and 110 MB to import, so it is loaded here and only when a
kubeconfig asks for it (docs/adr/0002-kubernetes-asyncio-is-loaded-when-credentials-need-it.md).
"""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from shared.kube.errors import ConfigError

_TIMEOUT = 60.0  # seconds; a plugin may ask a remote identity provider, it must not hang a worker
_EARLY = 60.0  # seconds before a token's expiry at which it is renewed


@dataclass(frozen=True, slots=True, repr=False)
class Issued:
    """From a plugin: a bearer token, or a client certificate with its key (PEM). `expires` in Unix seconds."""

    token: str = ""
    certificate: bytes | None = None
    key: bytes | None = None
    expires: float | None = None


class Issuer(Protocol):
    """Issues credentials for one server, and keeps them while they hold."""

    async def credentials(self) -> Issued:
        """The present credentials. Raises ConfigError where there are none to be had."""
        ...

    def renew(self, refused: Issued) -> None:
        """The server refused these (401): ask for others the next time."""
        ...


@dataclass(slots=True, repr=False)
class Plugin:
    """Asks for credentials and keeps them until they expire or `renew` is called (the server said 401)."""

    kubeconfig: dict[str, Any]
    context: str
    directory: Path
    _issued: Issued | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def credentials(self) -> Issued:
        """The present credentials. Raises ConfigError if the plugin fails, times out or is not installed."""
        async with self._lock:
            if self._issued is None or _expired(self._issued):
                self._issued = await self._ask()
            return self._issued

    def renew(self, refused: Issued) -> None:
        """Forget what the server refused, unless another request has replaced it already."""
        if self._issued is refused:
            self._issued = None

    async def _ask(self) -> Issued:
        try:
            from kubernetes_asyncio.client import Configuration
            from kubernetes_asyncio.config.kube_config import KubeConfigLoader
        except ImportError as error:
            raise ConfigError(
                f"context {self.context!r} needs a credential plugin: install kubernetes-asyncio"
            ) from error
        try:
            async with asyncio.timeout(_TIMEOUT):
                loader = KubeConfigLoader(
                    self.kubeconfig, active_context=self.context, config_base_path=str(self.directory)
                )
                configuration = Configuration()
                await loader.load_and_set(configuration)
        except TimeoutError as error:
            raise ConfigError(
                f"the credential plugin of context {self.context!r} took over {_TIMEOUT:.0f} s"
            ) from error
        except Exception as error:  # noqa: BLE001 - the loader raises whatever its plugin, JSON or files raise
            # The message may quote the plugin's output, so only the error's kind is kept.
            kind = type(error).__name__
            raise ConfigError(f"the credential plugin of context {self.context!r} failed ({kind})") from None
        expiry = getattr(loader, "exec_plugin_expiry", None)
        return Issued(
            token=str(configuration.api_key.get("BearerToken") or "").removeprefix("Bearer "),
            certificate=_read(configuration.cert_file),
            key=_read(configuration.key_file),
            expires=expiry.timestamp() if expiry else None,
        )


def _expired(issued: Issued) -> bool:
    return issued.expires is not None and time.time() >= issued.expires - _EARLY


def _read(path: str | None) -> bytes | None:
    return Path(path).read_bytes() if path else None
